"""What training learned of each row: the columns, the files, and the snapshot a later run reads.

A batch is a file under `feedback/<job>/`, recorded in the catalog, which says which of its rows count. A snapshot is
one mean loss a sample over the jobs named, under the digest of its content, so that a run that reads it can be run
again. Knows no models and no policies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.digest import sha256_hex
from curator.errors import InputError, RequestError
from curator.shards.publishing import held
from curator.storage import Store

__all__ = [
    "FEEDBACK_FILE",
    "LOSS_MOST",
    "clipped",
    "losses_of",
    "read_snapshot",
    "write_batch",
    "write_snapshot",
]

LOSS_MOST: Final = 20.0
"""Losses are clipped to [0, 20] nats, and counted: e^-20 is a probability of 2e-9, and one bad row must not outweigh a
million."""

FEEDBACK_FILE: Final = pa.schema(
    [
        pa.field("sample_id", pa.binary(16), nullable=False),
        pa.field("epoch", pa.int32(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("loss", pa.float32(), nullable=False),
        pa.field("correct", pa.bool_()),
    ]
)
"""`loss` in nats, before the step's update; `correct` null where rows have no class."""

_SNAPSHOT: Final = pa.schema(
    [pa.field("sample_id", pa.binary(16), nullable=False), pa.field("loss", pa.float32(), nullable=False)]
)
_OPTIONS: Final = pa.ipc.IpcWriteOptions(compression="zstd")


def clipped(rows: pa.Table) -> tuple[pa.Table, int]:
    """The rows with losses held to [0, LOSS_MOST], and how many were outside. Raises InputError for a loss that is no
    number: held to the bounds it would count as the best of all."""
    finite = pc.is_finite(rows["loss"])
    if not pc.all(finite, min_count=0).as_py():
        raise InputError("not a finite number", row=int(pc.index(finite, False).as_py()), column="loss")
    low, high = pa.scalar(0, pa.float32()), pa.scalar(LOSS_MOST, pa.float32())
    held = pc.min_element_wise(pc.max_element_wise(rows["loss"], low), high)
    changed = int(pc.sum(pc.not_equal(held, rows["loss"])).as_py() or 0)
    position = rows.schema.get_field_index("loss")
    return rows.set_column(position, FEEDBACK_FILE.field("loss"), held), changed


def write_batch(store: Store, job: str, rows: pa.Table) -> tuple[str, str]:
    """Writes rows of FEEDBACK_FILE unless the same batch is there. Returns (path, digest)."""
    data = _bytes(rows.cast(FEEDBACK_FILE))
    digest = sha256_hex(data)
    path = f"feedback/{job}/{digest}.arrow"
    if not store.exists(path):
        store.write_bytes(path, data)
    return path, digest


def write_snapshot(store: Store, batches: Iterable[tuple[str, np.ndarray]]) -> str:
    """One mean loss a sample over the counted rows of batches, given as (path, counts bool[rows]). Returns the name.

    Equal losses, equal name, in whatever batches they came. Raises RequestError when no row counts.
    """
    table = pa.concat_tables([*_counted(store, batches), FEEDBACK_FILE.empty_table()])
    if not table.num_rows:
        raise RequestError("the training jobs named have reported no losses yet; nothing to learn from them")
    rows = table.sort_by([("sample_id", "ascending"), ("epoch", "ascending"), ("loss", "ascending")])
    means = rows.group_by("sample_id", use_threads=False).aggregate([("loss", "mean")]).sort_by("sample_id")
    data = _bytes(pa.table([means["sample_id"], means["loss_mean"].cast(pa.float32())], schema=_SNAPSHOT))
    name = f"feedback/snapshots/{sha256_hex(data)}.arrow"
    with held(store, name):
        if not store.renew(name, len(data)):  # so that no sweep takes it before a run says that it reads it
            store.write_bytes(name, data)
    return name


def _counted(store: Store, batches: Iterable[tuple[str, np.ndarray]]) -> Iterator[pa.Table]:
    for path, counts in batches:
        with store.open_input(path) as source:
            yield pa.ipc.open_file(source).read_all().filter(pa.array(counts))


def read_snapshot(store: Store, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(sample ids as ascending S16[n], mean losses float32[n])."""
    with store.open_input(name) as source:
        table = pa.ipc.open_file(source).read_all()
    column = table["sample_id"].combine_chunks()
    keys = np.frombuffer(column.buffers()[1], "S16")[column.offset : column.offset + len(column)]
    order = np.argsort(keys)
    return keys[order], table["loss"].to_numpy()[order]


def losses_of(ids: np.ndarray, keys: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """float32[n]: the loss of each sample id (uint8[n, 16]), NaN where none was reported."""
    wanted = np.ascontiguousarray(ids).view("S16").reshape(-1)
    at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    found = keys[at] == wanted if len(keys) else np.zeros(len(wanted), bool)
    return np.where(found, losses[at] if len(keys) else np.nan, np.nan).astype(np.float32)


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=_OPTIONS) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
