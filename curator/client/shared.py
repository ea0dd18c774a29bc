"""Record batches handed from a DataLoader worker to the loop through shared memory, not through the pipe.

Knows processes and Arrow; nothing of streams or torch.

A worker writes some thousand rows at a time into an anonymous file in memory (`memfd_create`). What it sends for each
batch is that file's number and a range of rows; the loop opens the file through `/proc`, maps it, and slices. The loop
keeps the last few files of a worker mapped; the worker counts along, and a batch of a file that is no longer kept goes
through the pipe. Nothing has a name, so nothing stays behind when a process is killed. Where there is no such call or
no `/proc`, batches are pickled, each on its own.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from curator.errors import TransportError
from curator.shards.arrays import arrow_ints

__all__ = ["Lender"]

MAX_LENT = 32
"""Batches a lender remembers until they are sent, which keeps their rows in memory; older ones are pickled whole."""

NOT_READ, READ = b"\x00", b"\x01"
MAX_KEPT = 2
"""Files of one worker that the loop keeps mapped, those it read last: two streams may take turns in a worker."""


class SharedFile(NamedTuple):
    """Rows in shared memory. descriptor: in the worker. number: which no other file has, unlike a descriptor. size: of
    the rows as an Arrow stream, in bytes; the number follows, and a byte that says whether the loop has mapped it."""

    descriptor: int
    number: int
    size: int


_LENT: OrderedDict[int, tuple[pa.RecordBatch, SharedFile, int]] = OrderedDict()
"""What is yet to be sent: the batch, its file, and its first row there; by the batch's `id`."""
_UNSENT: dict[int, SharedFile] = {}
_UNREAD: dict[int, SharedFile] = {}
"""The files nothing was sent of yet, and those the loop has yet to map, by descriptor; later lenders close them too."""
_SENT: OrderedDict[int, None] = OrderedDict()
"""The worker's side of `_BORROWED`: numbers of the files that the loop has, once it has read what was sent."""
_BORROWED: dict[int, OrderedDict[int, pa.RecordBatch]] = {}
"""The loop's side: rows by worker process and file's number."""
_LOCK = threading.Lock()


def _begin_fork() -> None:
    global _LOCK
    _LOCK = threading.Lock()  # another thread may have held it
    _LENT.clear()
    _SENT.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_fork)


class Lender:
    """The worker's side. While a process has one, every RecordBatch it sends to another is a range of a shared file
    if it was lent, and else pickled without what it is not part of."""

    def __init__(self) -> None:
        ForkingPickler.register(pa.RecordBatch, _reduced)

    def share(self, rows: pa.RecordBatch) -> SharedFile | None:
        """Puts rows into shared memory, for `lend`; None where that cannot be done."""
        self._close_read()
        if not hasattr(os, "memfd_create") or not os.path.isdir("/proc/self/fd"):
            return None
        file = os.memfd_create("winnow-rows", os.MFD_CLOEXEC)
        number = int.from_bytes(os.urandom(8), "big")
        try:
            with pa.OSFile(f"/proc/self/fd/{file}", "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
                writer.write_batch(rows)
            size = os.fstat(file).st_size
            os.pwrite(file, number.to_bytes(8, "big") + NOT_READ, size)
        except OSError:  # no memory for it: the pipe has to do
            os.close(file)
            return None
        _UNSENT[file] = SharedFile(file, number, size)
        return _UNSENT[file]

    def lend(self, batch: pa.RecordBatch, file: SharedFile, first: int) -> pa.RecordBatch:
        """Remembers that a batch is rows `first` and on of a shared file."""
        with _LOCK:
            _LENT[id(batch)] = batch, file, first
            while len(_LENT) > MAX_LENT:
                _LENT.popitem(last=False)
        return batch

    def _close_read(self) -> None:
        """Closes the files that the loop has mapped."""
        for descriptor, file in list(_UNREAD.items()):
            if os.pread(descriptor, 1, file.size + 8) == READ:
                del _UNREAD[descriptor]
                os.close(descriptor)


def _reduced(batch: pa.RecordBatch) -> Any:
    with _LOCK:
        known = _LENT.pop(id(batch), None)
        if known is not None and known[0] is batch and _goes(known[1]):
            return _borrowed, (os.getpid(), known[1], known[2], batch.num_rows, batch.schema.metadata)
    # a copy: pickling a slice would send the whole chunk it is cut from
    return batch.take(arrow_ints(np.arange(batch.num_rows))).__reduce__()


def _goes(file: SharedFile) -> bool:
    """Whether the loop will have a file when it reads what is sent now: it keeps it still, or opens it first now."""
    if file.number not in _SENT:
        if _UNSENT.get(file.descriptor) != file:
            return False
        _UNREAD[file.descriptor] = _UNSENT.pop(file.descriptor)
    _touch(_SENT, file.number, None)
    return True


def _borrowed(
    process: int, file: SharedFile, first: int, num_rows: int, metadata: dict[bytes, bytes] | None
) -> pa.RecordBatch:
    """The loop's side: rows of a worker's file."""
    with _LOCK:
        kept = _BORROWED.setdefault(process, OrderedDict())
        rows = kept.get(file.number)
        if rows is None:
            rows = _mapped(process, file)
            for other in [other for other in _BORROWED if not os.path.isdir(f"/proc/{other}")]:
                del _BORROWED[other]
        _touch(kept, file.number, rows)
    return rows.slice(first, num_rows).replace_schema_metadata(metadata)


def _touch(kept: OrderedDict[int, Any], number: int, value: Any) -> None:
    kept[number] = value
    kept.move_to_end(number)
    while len(kept) > MAX_KEPT:
        kept.popitem(last=False)


def _mapped(process: int, file: SharedFile) -> pa.RecordBatch:
    try:
        with open(f"/proc/{process}/fd/{file.descriptor}", "r+b", buffering=0) as opened:
            if os.pread(opened.fileno(), 8, file.size) != file.number.to_bytes(8, "big"):
                raise OSError("it has closed them")
            with pa.memory_map(f"/proc/self/fd/{opened.fileno()}") as source:
                data = source.read_buffer(file.size)
            os.pwrite(opened.fileno(), READ, file.size + 8)
    except OSError as error:
        raise TransportError(
            f"the batches of worker process {process} cannot be read ({error}): it has ended, or its memory is closed "
            "to this process. Make a new DataLoader and load the last state."
        ) from error
    with pa.ipc.open_stream(data) as reader:
        return reader.read_next_batch()
