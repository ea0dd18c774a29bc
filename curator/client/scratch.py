"""Decoded record batches that a stream and its workers share, in a temporary folder that goes with the stream.

Knows keys, files and a number of bytes; nothing of shards or order. What is there is this program's own working
memory, only that it may be written to disk: nobody else reads it, and nothing in it outlives the stream.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import struct
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
BOOKS: Final = struct.Struct("<QQQ")
"""Bytes that are kept, which of PARTS is being filled, and its bytes; in the file `books`, for all processes."""
PARTS: Final = ("0", "1")
FRAME_BYTES: Final = 1024
"""What a file holds beside its record batch, about."""
MEMORY_BYTES: Final = 2**28
"""Kept in memory instead where nothing can be written."""


class Scratch:
    """A bounded map from keys to record batches; safe for threads and processes, forked or spawned.

    What comes first is kept, and stays as long as the scratch: epochs walk over the data in circles, and under a circle
    longer than the bound whatever made room would be wanted again just after it went. What has no room is made whenever
    it is wanted; where other processes want the same about now (`passes_on`), a quarter of the bound hands it on to
    them. Each is made by one of those who want it, while the others wait for it. Where they cannot be written, each
    process keeps some in its memory. The folder goes when the object that made it does; after a kill, at the next
    start.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": {}, "_memory": None}

    def __init__(self, max_bytes: int = SCRATCH_BYTES):
        self.max_bytes, self.passes_on = max_bytes, False
        self._held: dict[str, pa.RecordBatch] = {}  # of what is kept, all that was mapped
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
        name = hashlib.sha256(repr(key).encode()).hexdigest()[:32]
        rows = self._kept(name)
        if rows is not None:
            return rows, True
        if self._memory is not None:
            return self._memory.of(key, make)
        with alone(self.folder / f"{name[:2]}.lock"):
            rows = self._kept(name)
            if rows is None:
                return self._passed(name) or self._made(key, name, make)
        return rows, True

    def _kept(self, name: str) -> pa.RecordBatch | None:
        rows = self._held.get(name)
        if rows is None:
            rows = _mapped(self.folder / f"{name}.arrow")
            if rows is not None:
                self._held[name] = rows
        return rows

    def _passed(self, name: str) -> tuple[pa.RecordBatch, bool] | None:
        found = (_mapped(self.folder / part / f"{name}.arrow") for part in PARTS if self.passes_on)
        return next(((rows, False) for rows in found if rows is not None), None)

    def _made(self, key: Hashable, name: str, make: Callable[[], pa.RecordBatch]) -> tuple[pa.RecordBatch, bool]:
        made, place = make(), None
        try:
            place = self._place(pa.ipc.get_record_batch_size(made) + FRAME_BYTES)
            if place is not None:
                _write(made, place / f"{name}.arrow")
        except OSError:
            if place is not None and place != self.folder:
                return made, False  # another process emptied that part meanwhile
            self._memory = BatchCache(MEMORY_BYTES)
            self._memory.put(key, made)
            return made, False
        rows = self._kept(name) if place == self.folder else None
        return (made, False) if rows is None else (rows, True)

    def _place(self, num_bytes: int) -> Path | None:
        """The folder where so many bytes may be written, which counts them; None for none. What is handed on goes to
        two folders in turn: when one is full, the other is emptied. Raises OSError, also for more than the bound."""
        if num_bytes > self.max_bytes:
            raise OSError(errno.ENOSPC, f"a record batch of {num_bytes} bytes, and room for {self.max_bytes}")
        with alone(self.folder / "books.lock"), (self.folder / "books").open("r+b", buffering=0) as books:
            kept, turn, passing = BOOKS.unpack(books.read(BOOKS.size))
            part_bytes = (self.max_bytes - kept) // len(PARTS)
            if kept + num_bytes <= (self.max_bytes * 3 // 4 if self.passes_on else self.max_bytes):
                kept, place = kept + num_bytes, self.folder
            elif self.passes_on and num_bytes <= part_bytes:
                passing += num_bytes
                if passing > part_bytes:
                    turn, passing = 1 - turn, num_bytes
                    for old in (self.folder / PARTS[turn]).iterdir():
                        old.unlink(missing_ok=True)
                place = self.folder / PARTS[turn]
            else:
                return None
            books.seek(0)
            books.write(BOOKS.pack(kept, turn, passing))
        return place


def _write(rows: pa.RecordBatch, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    try:
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_batch(rows)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


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
        (new / "books").write_bytes(bytes(BOOKS.size))
        for part in PARTS:
            (new / part).mkdir()
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
