"""Exports in the formats of two training-data loaders: WebDataset tars and MosaicML's MDS shards.

Knows their layouts, nothing of manifests. Sources: "The WebDataset Format" (github.com/webdataset/webdataset); MDS
version 2 as `streaming/base/format/mds/` of mosaicml-streaming 0.13 writes and reads it, without compression or hashes.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from curator.exports.tables import as_text, files, parts, with_hex_ids
from curator.shards.layout import SAMPLE_ID
from curator.storage import Store

__all__ = ["export_mds", "export_webdataset", "with_nulls"]

IMAGES: Final = ((b"\xff\xd8\xff", "jpg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"GIF8", "gif"), (b"RIFF", "webp"))
"""First bytes of image files, and the extension loaders decode them by."""
MDS_FILE_BYTES: Final = 64 << 20
"""MDS counts offsets in 32 bits; its own writer makes shards of this size."""


def export_webdataset(batches: Iterable[pa.RecordBatch], name: str, store: Store) -> list[str]:
    """Writes `<name>-00000.tar` and so on; returns the names.

    A row's key is its sample id in hex. Columns of bytes are members of their own, named after the image format they
    hold or else after the column (`column.jpg` where there are several); all others stand in the row's `.json`.
    """

    def opened(sink: Any, schema: pa.Schema, stack: ExitStack) -> Callable[[pa.RecordBatch], None]:
        writer = tarfile.open(fileobj=sink, mode="w|", format=tarfile.GNU_FORMAT)  # noqa: SIM115 (the stack closes it)
        archive = stack.enter_context(writer)
        blobs = [field.name for field in schema if pt.is_binary(field.type) or pt.is_large_binary(field.type)]

        def write(batch: pa.RecordBatch) -> None:
            for row in batch.to_pylist():
                key, values = row[SAMPLE_ID], {column: row.pop(column) for column in blobs}
                for column, value in values.items():
                    if value is not None:
                        _add(archive, f"{key}.{_extension(column, value, alone=len(blobs) == 1)}", value)
                _add(archive, f"{key}.json", _json(row))

        return write

    return files(batches, name, store, ".tar", opened)


def _extension(column: str, value: bytes, *, alone: bool) -> str:
    kind = next((extension for mark, extension in IMAGES if value.startswith(mark)), None)
    if kind is None:
        return column
    return kind if alone else f"{column}.{kind}"


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # no time, no owner: equal rows, equal bytes
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, default=as_text).encode()


def with_nulls(batches: Iterable[pa.RecordBatch]) -> set[str]:
    """Names of the columns that hold a null somewhere."""
    return {
        name
        for batch in batches
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
        if column.null_count
    }


def export_mds(batches: Iterable[pa.RecordBatch], nullable: Collection[str], store: Store) -> list[str]:
    """Writes `shard.00000.mds` and so on and, last, `index.json`; returns the names.

    Text, bytes and numbers have encodings of their own; whatever is nested or holds a null (`nullable`), which MDS
    cannot say, is JSON, bytes within it base64.
    """
    names, shards = [], []
    for number, part in enumerate(parts(map(with_hex_ids, batches), MDS_FILE_BYTES)):
        config: dict[str, Any] = {}
        samples: list[bytes] = []
        for batch in part:
            config = config or _config(batch.schema, nullable)
            samples += [_sample(row, config) for row in batch.to_pylist()]
        names.append(f"shard.{number:05d}.mds")
        data = _shard(samples, config)
        store.write_bytes(names[-1], data)
        about = {"basename": names[-1], "bytes": len(data), "hashes": {}}
        shards.append({"samples": len(samples), "raw_data": about, "zip_data": None, **config})
    store.write_bytes("index.json", json.dumps({"version": 2, "shards": shards}, sort_keys=True).encode())
    return [*names, "index.json"]


def _config(schema: pa.Schema, nullable: Collection[str]) -> dict[str, Any]:
    columns = {field.name: "json" if field.name in nullable else _encoding(field.type) for field in schema}
    ordered = sorted(columns)
    return {
        "version": 2,
        "format": "mds",
        "compression": None,
        "hashes": [],
        "size_limit": MDS_FILE_BYTES,
        "column_names": ordered,
        "column_encodings": [columns[name] for name in ordered],
        "column_sizes": [_fixed_size(columns[name]) for name in ordered],
    }


def _encoding(kind: pa.DataType) -> str:
    if pt.is_string(kind):
        return "str"
    if pt.is_binary(kind):
        return "bytes"
    if pt.is_integer(kind):
        return str(kind)
    return {"halffloat": "float16", "float": "float32", "double": "float64"}.get(str(kind), "json")


def _fixed_size(encoding: str) -> int | None:
    return None if encoding in ("str", "bytes", "json") else np.dtype(encoding).itemsize


def _sample(row: dict[str, Any], config: dict[str, Any]) -> bytes:
    """Sizes of the columns that have no fixed one, then all values, in the order of column names."""
    sizes, values = [], []
    for name, encoding, size in zip(
        config["column_names"], config["column_encodings"], config["column_sizes"], strict=True
    ):
        value = _encoded(row[name], encoding)
        values.append(value)
        if size is None:
            sizes.append(len(value))
    return np.array(sizes, "<u4").tobytes() + b"".join(values)


def _encoded(value: Any, encoding: str) -> bytes:
    if encoding == "str":
        return str(value).encode()
    if encoding == "bytes":
        return bytes(value)
    return _json(value) if encoding == "json" else np.dtype(encoding).type(value).tobytes()


def _shard(samples: list[bytes], config: dict[str, Any]) -> bytes:
    """Number of samples, where each begins and the last ends, the column layout as JSON, the samples."""
    layout = json.dumps(config, sort_keys=True).encode()
    begins = np.cumsum([0, *map(len, samples)]) + 4 + 4 * (len(samples) + 1) + len(layout)
    return np.uint32(len(samples)).tobytes() + begins.astype("<u4").tobytes() + layout + b"".join(samples)
