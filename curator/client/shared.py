"""Record batches handed from a DataLoader worker to the loop through shared memory, not through the pipe.

Knows processes and Arrow; nothing of streams or torch.

A worker writes some thousand rows at a time into an anonymous file in memory (`memfd_create`). What it sends for each
batch is that file's number and a range of rows; the loop opens the file through `/proc`, maps it, and slices. Nothing
has a name, so nothing stays behind when a process is killed. Where there is no such call or no `/proc`, batches are
pickled, each on its own.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import pyarrow as pa

from curator.errors import TransportError
from curator.shards.arrays import arrow_ints

__all__ = ["Lender"]

MAX_LENT = 32
"""Batches a lender remembers until they are sent, which keeps their rows in memory; older ones are pickled whole."""

Place = tuple[int, int, int, int]  # the file's descriptor, its number, its size, first row
_LENT: OrderedDict[int, tuple[pa.RecordBatch, Place]] = OrderedDict()
_BORROWED: dict[int, tuple[int, pa.RecordBatch]] = {}
_FILES: dict[int, tuple[int, int]] = {}
"""Number and size of the files the loop has not mapped yet, by descriptor; a later epoch's lender closes them too."""
_LOCK = threading.Lock()


class Lender:
    """The worker's side. While a process has one, every RecordBatch it sends to another is a range of a shared file
    if it was lent, and else pickled without what it is not part of."""

    def __init__(self) -> None:
        ForkingPickler.register(pa.RecordBatch, _reduced)

    def share(self, rows: pa.RecordBatch) -> int | None:
        """Puts rows into shared memory, for `lend`; None where that cannot be done."""
        self._close_read()
        if not hasattr(os, "memfd_create") or not os.path.isdir("/proc/self/fd"):
            return None
        file = os.memfd_create("winnow-rows", os.MFD_CLOEXEC)
        try:
            with pa.OSFile(f"/proc/self/fd/{file}", "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
                writer.write_batch(rows)
            size = os.fstat(file).st_size
            os.ftruncate(file, size + 1)  # the last byte says that the loop has mapped it
        except OSError:  # no memory for it: the pipe has to do
            os.close(file)
            return None
        _FILES[file] = int.from_bytes(os.urandom(8), "big"), size  # descriptors and processes' ids come again
        return file

    def lend(self, batch: pa.RecordBatch, file: int, first: int) -> pa.RecordBatch:
        """Remembers that a batch is rows `first` and on of a shared file."""
        with _LOCK:
            _LENT[id(batch)] = batch, (file, *_FILES[file], first)
            while len(_LENT) > MAX_LENT:
                _LENT.popitem(last=False)
        return batch

    def _close_read(self) -> None:
        """Closes the files that the loop has mapped."""
        for file, (_, size) in list(_FILES.items()):
            if os.pread(file, 1, size) == b"\x01":
                del _FILES[file]
                os.close(file)


def _reduced(batch: pa.RecordBatch) -> Any:
    with _LOCK:
        known = _LENT.pop(id(batch), None)
    if known is not None and known[0] is batch:
        return _borrowed, (os.getpid(), *known[1], batch.num_rows, batch.schema.metadata)
    # a copy: pickling a slice would send the whole chunk it is cut from
    return batch.take(arrow_ints(np.arange(batch.num_rows))).__reduce__()


def _borrowed(
    process: int, file: int, number: int, size: int, first: int, num_rows: int, metadata: dict[bytes, bytes] | None
) -> pa.RecordBatch:
    """The loop's side: rows of a worker's file. A worker's files come in order, so only its newest is kept."""
    with _LOCK:
        held = _BORROWED.get(process)
    if held is None or held[0] != number:
        held = number, _mapped(process, file, size)
        with _LOCK:
            for other in [other for other in _BORROWED if not os.path.isdir(f"/proc/{other}")]:
                del _BORROWED[other]
            _BORROWED[process] = held
    return held[1].slice(first, num_rows).replace_schema_metadata(metadata)


def _mapped(process: int, file: int, size: int) -> pa.RecordBatch:
    path = f"/proc/{process}/fd/{file}"
    try:
        with pa.memory_map(path) as source:
            data = source.read_buffer()
        with open(path, "r+b", buffering=0) as flag:
            flag.seek(size)
            flag.write(b"\x01")
    except OSError as error:
        raise TransportError(
            f"the batches of worker process {process} cannot be read ({error}): it has ended, or its memory is closed "
            "to this process. Make a new DataLoader and load the last state."
        ) from error
    with pa.ipc.open_stream(data) as reader:
        return reader.read_next_batch()
