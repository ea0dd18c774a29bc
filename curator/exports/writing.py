"""Every kept row of a manifest, once, in stored order, in one of the formats.

Knows manifests and formats; nothing of who asked or where it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal, get_args

import pyarrow as pa

from curator.errors import RequestError
from curator.exports.archives import export_mds, export_webdataset, with_nulls
from curator.exports.tables import export_jsonl, export_parquet
from curator.shards.manifest import Manifest
from curator.shards.reader import ShardReader
from curator.storage import Store

__all__ = ["FORMATS", "ExportForm", "write_export"]

ExportForm = Literal["parquet", "mds", "webdataset", "jsonl"]
FORMATS: Final[tuple[ExportForm, ...]] = get_args(ExportForm)
_WRITERS: Final = {"parquet": export_parquet, "jsonl": export_jsonl, "webdataset": export_webdataset}


def write_export(
    reader: ShardReader,
    manifest: Manifest,
    form: ExportForm,
    store: Store,
    *,
    on_rows: Callable[[int], None] | None = None,
) -> list[str]:
    """Writes the files into the store and returns their names.

    on_rows: told after each batch how many rows were read so far (MDS reads them twice and counts the second time);
    what it raises ends the writing. Raises RequestError for a manifest without a kept row, IntegrityError for damaged
    shards, DiskFullError.
    """
    if not manifest.num_live:
        raise RequestError(f"{manifest.id} has no kept rows; there is nothing to export")
    if form == "mds":
        nullable = with_nulls(_told(reader.iter_batches(manifest), on_rows, counting=False))
        return export_mds(_told(reader.iter_batches(manifest), on_rows), nullable, store)
    return _WRITERS[form](_told(reader.iter_batches(manifest), on_rows), manifest.id, store)


def _told(
    batches: Iterator[pa.RecordBatch], on_rows: Callable[[int], None] | None, *, counting: bool = True
) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in batches:
        yield batch
        rows += batch.num_rows
        if on_rows is not None:
            on_rows(rows if counting else 0)
