"""Decoded record batches that a stream and its workers share, in a temporary folder that goes with the stream.

Knows keys, files and a number of bytes; nothing of shards or order. What is there is this program's own working
memory, only that it may be written to disk: nobody else reads it, and nothing in it outlives the stream.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Hashable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa

from curator.client.locks import alone
from curator.shards.batch_cache import BatchCache

__all__ = ["SCRATCH_BYTES", "Scratch"]

SCRATCH_BYTES: Final = 2 * 2**30
"""The most a stream's scratch holds when it is not told."""
PREFIX: Final = "winnow-scratch-"
ROOM_SHARE: Final = 8
"""A process writes an eighth of what is free before it looks again at what all have written."""
MEMORY_BYTES: Final = 2**28
"""Kept in memory instead where nothing can be written."""


class Scratch:
    """A bounded map from keys to record batches; safe for threads and processes, forked or spawned.

    When it is full, arbitrary batches make room: epochs walk over the data in circles, and under a circle longer than
    the bound the least recently used are just those that come next. Each is made by one of those who want it, while
    the others wait for it. Where they cannot be written, each process keeps some in its memory. The folder goes when
    the object that made it does; after a kill, at the next start.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": {}, "_room": 0, "_memory": None}

    def __init__(self, max_bytes: int = SCRATCH_BYTES):
        self.max_bytes = max_bytes
        self._held: dict[str, pa.RecordBatch] | None = {}  # all that was mapped; None once some of it must go
        self._room = 0  # bytes this process may write before it looks
        self._memory: BatchCache | None = None
        _sweep()
        self.folder, claim = _claimed()
        weakref.finalize(self, _removed, self.folder, claim, os.getpid())

    @classmethod
    def of_size(cls, max_bytes: int) -> Scratch | None:
        """None for no bytes, and where there is no temporary folder to write to."""
        try:
            return cls(max_bytes) if max_bytes else None
        except OSError:
            return None

    def of(self, key: Hashable, make: Callable[[], pa.RecordBatch]) -> tuple[pa.RecordBatch, bool]:
        """The batch of a key, which `make` makes when it is not here, and whether it costs nothing to hold on to, as
        it stays anyway. Raises what `make` raises."""
        if self._memory is not None:
            return self._memory.of(key, make)
        name = hashlib.sha256(repr(key).encode()).hexdigest()[:32]
        held = self._held
        rows = None if held is None else held.get(name)
        if rows is None:
            rows = self._found(key, name, make)
            if held is not None:
                held[name] = rows
        return rows, self._held is not None

    def _found(self, key: Hashable, name: str, make: Callable[[], pa.RecordBatch]) -> pa.RecordBatch:
        path = self.folder / f"{name}.arrow"
        rows = _mapped(path)
        if rows is not None:
            return rows
        with alone(self.folder / f"{name[:2]}.lock"):
            rows = _mapped(path)
            if rows is None:
                rows = made = make()
                if self._put(path, made):
                    kept = _mapped(path)
                    rows = made if kept is None else kept
                else:
                    self._held, self._memory = None, BatchCache(MEMORY_BYTES)
                    self._memory.put(key, made)
        return rows

    def _put(self, path: Path, rows: pa.RecordBatch) -> bool:
        """Writes a batch; False when it is larger than all of the scratch or the disk is full."""
        if rows.nbytes > self.max_bytes:
            return False
        temporary = path.with_suffix(".tmp")
        try:
            self._make_room(rows.nbytes)
            with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
                writer.write_batch(rows)
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            return False
        return True

    def _make_room(self, num_bytes: int) -> None:
        """Spares the newest quarter, which other workers are about to want; of the rest always the same ones go, so
        that most stay."""
        self._room -= num_bytes
        if self._room >= 0:
            return
        with os.scandir(self.folder) as entries:
            found = [(entry.stat(), entry.path) for entry in entries if entry.name.endswith(".arrow")]
        total = num_bytes + sum(stat.st_size for stat, _ in found)
        if total > self.max_bytes:
            self._held = None
            found.sort(key=lambda each: each[0].st_mtime_ns)
            for stat, path in sorted(found[: len(found) * 3 // 4 + 1], key=lambda each: each[1]):
                if total <= self.max_bytes * 15 // 16:
                    break
                Path(path).unlink(missing_ok=True)
                total -= stat.st_size
        self._room = max(self.max_bytes - total, 0) // ROOM_SHARE


def _mapped(path: Path) -> pa.RecordBatch | None:
    try:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).get_batch(0)
    except OSError:  # not there, or this process has too many open already
        return None


def _claimed() -> tuple[Path, BinaryIO]:
    """A new folder, and the lock that says somebody lives there, for as long as this process or one of its forks does;
    it gets its name, by which others sweep, when it is locked."""
    new = Path(tempfile.mkdtemp(prefix=f".{PREFIX}"))
    with ExitStack() as undone:
        undone.callback(shutil.rmtree, new, ignore_errors=True)
        claim = undone.enter_context((new / "claim").open("wb"))
        fcntl.flock(claim, fcntl.LOCK_EX)
        folder = new.rename(new.with_name(new.name[1:]))
        undone.pop_all()
    return folder, claim


def _removed(folder: Path, claim: BinaryIO, process: int) -> None:
    claim.close()
    if os.getpid() == process:  # a fork's copy of the object goes alone
        shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Removes the folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with ExitStack() as stack, suppress(OSError):
            with suppress(FileNotFoundError):  # then a sweep was killed here
                fcntl.flock(stack.enter_context((folder / "claim").open("rb")), fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
