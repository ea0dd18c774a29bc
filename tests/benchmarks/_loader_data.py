"""The rows of the loader benchmark: about 2 KB of text each, cut from the documentation of the installed packages.

Knows no loader. Row i is the same on every run: {id: i, text}; its CRC-32 is kept to check what loaders deliver.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["GROUP_ROWS", "ROWS", "checksums", "groups", "make_rows"]

ROWS = 320_000
GROUP_ROWS = 16_000
LENGTHS = (1536, 2561)


def make_rows(folder: Path, num_rows: int) -> Path:
    """`rows.parquet` and `checksums.npy` (uint32[num_rows]) in the folder, unless they are there."""
    from pipelines.demo.corpus import write_corpus

    path = folder / "rows.parquet"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    write_corpus(folder / "corpus.jsonl")
    with (folder / "corpus.jsonl").open(encoding="utf-8") as lines:
        corpus = "\n".join(json.loads(line)["text"] for line in lines).encode("ascii", "replace").decode()
    draw = np.random.default_rng(2026)
    lengths = draw.integers(*LENGTHS, num_rows)
    starts = draw.integers(0, len(corpus) - LENGTHS[1], num_rows)
    sums = np.empty(num_rows, dtype=np.uint32)
    unfinished = path.with_suffix(".tmp")
    with pq.ParquetWriter(unfinished, pa.schema({"id": pa.int64(), "text": pa.string()}), compression="zstd") as sink:
        for low in range(0, num_rows, GROUP_ROWS):
            ids = range(low, min(low + GROUP_ROWS, num_rows))
            texts = [f"{i} " + corpus[starts[i] : starts[i] + lengths[i]] for i in ids]
            sums[low : low + len(texts)] = [zlib.crc32(text.encode()) for text in texts]
            sink.write_batch(pa.record_batch({"id": pa.array(ids, pa.int64()), "text": texts}))
    np.save(folder / "checksums.npy", sums)
    unfinished.rename(path)
    return path


def groups(folder: Path) -> Iterator[pa.RecordBatch]:
    """The rows in order, some thousands at a time."""
    file = pq.ParquetFile(folder / "rows.parquet")
    for number in range(file.num_row_groups):
        yield from file.read_row_group(number).combine_chunks().to_batches()


def checksums(folder: Path) -> np.ndarray:
    """CRC-32 of each row's text by id: uint32[rows]."""
    return np.load(folder / "checksums.npy")
