"""A small curated dataset for tests: rows whose content says who they are, written as shards under a manifest."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from curator.difficulty import UNKNOWN, terciles
from curator.shards import Manifest, ShardInfo, ShardWriter, write_index
from curator.storage import Store


class Dataset(NamedTuple):
    manifest: Manifest
    kept: pa.Table
    dropped: pa.Table


def sample_id(number: int) -> bytes:
    return hashlib.md5(str(number).encode(), usedforsecurity=False).digest()


def rows(numbers: range, *, words: int = 3) -> pa.Table:
    """`number` names the row; every tenth was relabelled from 9 by the policy."""
    values = list(numbers)
    return pa.table(
        {
            "number": pa.array(values, pa.int64()),
            "text": pa.array(
                [None if n % 17 == 0 else f"row {n} " + "word " * (n % words) for n in values], pa.string()
            ),
            "label": pa.array([n % 3 for n in values], pa.int64()),
            "label_before": pa.array([9 if n % 10 == 0 else None for n in values], pa.int64()),
            "sample_id": pa.array([sample_id(n) for n in values], pa.binary(16)),
        }
    )


def write_dataset(
    store: Store, *, kept: int = 500, dropped: int = 60, batch_rows: int = 16, target_bytes: int = 4000, seed: int = 0
) -> Dataset:
    """Writes `kept` live rows in several shards and `dropped` ones in quarantine; difficulty from seeded scores."""
    tables = rows(range(kept)), rows(range(kept, kept + dropped))
    infos: list[ShardInfo] = []
    for quarantine, table in zip((False, True), tables, strict=True):
        writer = ShardWriter(
            store, table.schema, target_bytes=target_bytes, quarantine=quarantine, batch_rows=batch_rows
        )
        for batch in table.to_batches(max_chunksize=37):
            writer.write(batch)
        infos += writer.close()
    scores = np.random.default_rng(seed).random(kept, dtype=np.float32)
    codes = terciles(scores, tables[0]["sample_id"])
    done, first = [], 0
    for info in infos:
        if info.quarantine:
            done.append(info)
            continue
        part = slice(first, first + info.rows)
        ids = tables[0]["sample_id"].combine_chunks()[part]
        done.append(info.with_index(*write_index(store, codes[part], np.ones(info.rows, dtype=bool), ids)))
        first += info.rows
    assert UNKNOWN not in codes
    manifest = Manifest.of(tables[0].schema, done, label="label", recipe_digest="0" * 64, dataset_version="test")
    manifest.save(store)
    return Dataset(manifest, *tables)
