"""Where ranks that do not step together leave things for each other: a key-value store that outlives any of them.

    python -m pipelines.training.parallel.board --port 29500      hosts one, apart from every rank

PyTorch's TCPStore. Which ranks a mean is over is written once, by whoever is first, so that all merge the same. A rank
is alive while its counter moves. Knows bytes and ranks; nothing of models.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Final

import torch.distributed as dist

from curator.errors import RunFailedError
from pipelines.training.parallel.launch import Launch, meeting_place

__all__ = ["NOTHING", "Board", "hosted", "main"]

log: Final = logging.getLogger(__name__)

NOTHING: Final = b"-"
_POLL_S: Final = 0.005
_PIECE_BYTES: Final = 4 * 1024 * 1024
"""TCPStore closes the connection of whoever sends it 8 MiB at once."""
_START: Final = 10
_BEATS: Final = 10
"""signs of life within the patience"""


class Board:
    """One rank's view. `connect` gives a connection; a rank uses one to beat and one to read and write."""

    def __init__(self, connect: Callable[[], dist.Store], rank: int, world_size: int, patience_s: float):
        self._store, self._beating = connect(), connect()
        self.rank, self.world_size, self._patience_s = rank, world_size, patience_s
        self.returned = self._store.add(f"started/{rank}", 1) > 1
        self._seen: dict[int, tuple[int, float]] = {}
        self._lost: set[int] = set()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def lost(self) -> tuple[int, ...]:
        """Ranks without a sign of life."""
        return tuple(sorted(self._lost))

    @property
    def first(self) -> int:
        """The rank that leads: the first that is not lost."""
        return min(set(range(self.world_size)) - self._lost)

    @property
    def leads(self) -> bool:
        return self.rank == self.first

    def begin(self) -> None:
        """From here on this rank is counted on. At first all wait for all, ten times as patiently as later."""
        if self._thread is not None:
            return
        self._beat()
        self._thread = threading.Thread(target=self._beats, name="beats", daemon=True)
        self._thread.start()
        if not self.returned:
            self.put(f"here/{self.rank}", b"1")
            until = time.monotonic() + _START * self._patience_s
            while not all(self._has(f"here/{rank}") for rank in range(self.world_size)) and time.monotonic() < until:
                time.sleep(_POLL_S)

    def ask(self, what: str) -> bytes:
        """Something that the rank that leads answers, while any is alive: in the start nobody is let in. Raises
        RunFailedError when nobody does in time."""
        until, name = time.monotonic() + _START * self._patience_s, f"{self.rank}-{time.monotonic_ns()}"
        while (found := self.get(f"{what}/{name}")) is None:
            self.put(what, name.encode())
            if any(self._alive(rank) for rank in range(self.world_size) if rank != self.rank):
                until = max(until, time.monotonic() + self._patience_s)
            if time.monotonic() > until:
                raise RunFailedError(
                    f"no rank answers rank {self.rank} that wants to {what}: they are gone, or at their end. Start the "
                    "whole job again: it goes on from its checkpoint."
                )
            time.sleep(_POLL_S)
        self.remove(f"{what}/{name}")
        return found

    def answer(self, what: str, make: Callable[[], bytes]) -> None:
        """Answers the rank that asks, if there is one."""
        asking = self.get(what)
        if asking is not None:
            self.put(f"{what}/{asking.decode()}", make())
            self.remove(what)

    def stop_at(self, step: int, asked: bool, every: int) -> bool:
        """Whether all stop after this step: at a multiple of `every`, far enough ahead of whoever asked for it that no
        rank has passed it."""
        if asked:
            self.agree("stop", str((step // every + 3) * every))
        return step % every == 0 and self.agreed("stop") == str(step)

    def close(self, hosts: bool) -> None:
        """Says goodbye; the rank that hosts stays until all have."""
        self.leave()
        self.put(f"done/{self.rank}", b"1")
        if hosts:
            self.await_all("done")

    def leave(self) -> None:
        """No more signs of life: whoever waits for this rank is told so by their absence."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def put(self, key: str, value: bytes) -> None:
        """In pieces that the store takes; the key itself, which says how many, last."""
        pieces = [value[first : first + _PIECE_BYTES] for first in range(0, len(value), _PIECE_BYTES)]
        for number, piece in enumerate(pieces):
            self._set(f"{key}.{number}", piece)
        self._set(key, str(len(pieces)).encode())

    def get(self, key: str) -> bytes | None:
        """What was put there, or None."""
        count = self._get(key)
        if count is None:
            return None
        pieces = [self._get(f"{key}.{number}") for number in range(int(count))]
        return None if None in pieces else b"".join(piece for piece in pieces if piece is not None)

    def remove(self, key: str) -> None:
        for number in range(int(self._get(key) or b"0")):
            with self._lock:
                self._store.delete_key(f"{key}.{number}")
        with self._lock:
            self._store.delete_key(key)

    def agree(self, key: str, proposal: str) -> str:
        """The first proposal that anybody made."""
        with self._lock:
            return bytes(self._store.compare_set(key, "", proposal)).decode()

    def agreed(self, key: str) -> str | None:
        """What was agreed on, if anything was."""
        told = self._get(key)
        return None if told is None else told.decode()

    def exchange(self, name: str, value: bytes) -> dict[int, bytes]:
        """What each rank has put up under that name, of those that did in time: the same for everybody. Waits for
        those that are alive; `NOTHING` says that this one has nothing. Raises RunFailedError when the others have gone
        on without this one."""
        self.put(f"{name}/{self.rank}", value)
        while (told := self.agreed(f"{name}/who")) is None:
            here = self.await_all(name, until=lambda: self.agreed(f"{name}/who") is not None)
            self.agree(f"{name}/who", json.dumps(here))
        found = {rank: self.get(f"{name}/{rank}") for rank in json.loads(told)}
        kept = {rank: value for rank, value in found.items() if value is not None}
        if len(kept) < len(found):
            raise RunFailedError(
                f"rank {self.rank} is too far behind: {name} has been merged and cleared away. Start it again: it "
                "goes on from where the others are."
            )
        return {rank: value for rank, value in kept.items() if value != NOTHING}

    def await_all(self, name: str, until: Callable[[], bool] = lambda: False) -> list[int]:
        """The ranks that have put something up under that name, once all that are alive have."""
        while True:
            here = [rank for rank in range(self.world_size) if self._has(f"{name}/{rank}")]
            missing = set(range(self.world_size)) - set(here)
            if until() or all(not self._alive(rank) for rank in missing):
                return here
            time.sleep(_POLL_S)

    def clear(self, name: str) -> None:
        """What was put up under that name; every rank may call it."""
        for rank in range(self.world_size):
            self.remove(f"{name}/{rank}")

    def _set(self, key: str, value: bytes) -> None:
        with self._lock:
            self._store.set(key, value)  # type: ignore[arg-type]  # bytes are taken as they are

    def _get(self, key: str) -> bytes | None:
        with self._lock:
            return bytes(self._store.get(key)) if self._store.check([key]) else None

    def _has(self, key: str) -> bool:
        with self._lock:
            return self._store.check([key])

    def _alive(self, rank: int) -> bool:
        with self._lock:
            count = self._store.add(f"alive/{rank}", 0)
        now = time.monotonic()
        before, since = self._seen.setdefault(rank, (count, now))
        if count != before:
            self._seen[rank] = (count, now)
            self._lost.discard(rank)
        elif now - since > self._patience_s and rank not in self._lost:
            log.warning("rank %d has given no sign of life for %.1f s: going on without it", rank, now - since)
            self._lost.add(rank)
        return rank not in self._lost

    def _beats(self) -> None:
        with suppress(dist.DistNetworkError):  # whoever needs the board next says that it is gone
            while not self._done.wait(self._patience_s / _BEATS):
                self._beat()

    def _beat(self) -> None:
        self._beating.add(f"alive/{self.rank}", 1)


@contextmanager
def hosted(found: Launch, patience_s: float) -> Iterator[Board]:
    """The board of a launcher's ranks: hosted by rank 0, or by whoever says TORCHELASTIC_USE_AGENT_STORE, as torchrun
    does; then it outlives rank 0 too."""
    host, port = meeting_place()
    elsewhere = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    own = [] if found.rank or elsewhere else [_store(host, port, True)]
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    board = Board(
        lambda: dist.PrefixStore(f"winnow/{attempt}", _store(host, port, False)),
        found.rank,
        found.world_size,
        patience_s,
    )
    try:
        yield board
        board.close(hosts=bool(own))
    except dist.DistNetworkError as error:
        raise RunFailedError(
            f"the board at {host}:{port} does not answer rank {found.rank}: {error}. It is rank 0's, or torchrun's: "
            "start the job again, it goes on from its last checkpoint."
        ) from error
    finally:
        board.leave()
        own.clear()


def _store(host: str, port: int, hosts: bool) -> dist.TCPStore:
    return dist.TCPStore(host, port, is_master=hosts, wait_for_workers=False, timeout=timedelta(minutes=10))


def main(arguments: Sequence[str] | None = None) -> int:
    """Hosts a board until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.training.parallel.board", description="Hosts a board.")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args(arguments)
    store = dist.TCPStore("0.0.0.0", options.port, is_master=True, wait_for_workers=False, timeout=timedelta(days=1))
    print(f"ranks find it with MASTER_PORT={store.port} TORCHELASTIC_USE_AGENT_STORE=True", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
