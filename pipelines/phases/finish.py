"""Finish: difficulties over the whole set, the ledger, the shards' indexes, and at last the manifest.

The manifest is the commit point: a crash before it leaves orphan files and no lie.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from curator.difficulty import NAMES as DIFFICULTIES
from curator.difficulty import terciles
from curator.ledger import Ledger, ledger_schema
from curator.shards import Manifest, ShardInfo, write_index
from curator.verdict import ACTIONS, DROP
from pipelines.job import Job
from pipelines.phases.reasons import reason_names
from pipelines.phases.write import shard_schema
from pipelines.side import bytes_matrix

__all__ = ["finish"]

_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


def finish(job: Job, outputs: dict[str, Any]) -> dict[str, Any]:
    """Writes ledger, indexes and manifest. Returns {manifest, difficulty: {name: rows}, shards, quarantine}."""
    difficulty = _difficulties(job, outputs)
    shards: list[ShardInfo] = []
    for unit in range(len(job.plan.units)):
        codes = difficulty[unit]
        _write_ledger(job, unit, outputs, codes)
        shards += _indexed(job, unit, outputs, codes)
    manifest = Manifest.of(
        schema=shard_schema(job),
        shards=shards,
        recipe_digest=job.recipe.digest,
        policy_version=outputs["learn"]["policy"],
        dataset_version=job.plan.dataset_version,
    )
    manifest.save(job.store)
    every = np.concatenate([codes[codes < len(DIFFICULTIES)] for codes in difficulty]) if difficulty else np.zeros(0, np.uint8)
    counts = np.bincount(every, minlength=len(DIFFICULTIES))
    return {
        "manifest": manifest.id,
        "difficulty": dict(zip(DIFFICULTIES, counts.tolist(), strict=True)),
        "shards": sum(not shard.quarantine for shard in shards),
        "quarantine": sum(shard.quarantine for shard in shards),
    }


NONE = 255
"""Code of a row that was dropped and so has no difficulty."""


def _difficulties(job: Job, outputs: dict[str, Any]) -> list[np.ndarray]:
    """Per unit uint8[n]: terciles over all kept rows, NONE for dropped ones. 21 bytes a kept row while it runs."""
    masks, scores, ids = [], [], []
    for unit in range(len(job.plan.units)):
        kept = job.read_side(unit, "verdicts", ["action"])["action"].to_numpy() != DROP
        masks.append(kept)
        scores.append(job.read_side(unit, "difficulty")["score"].to_numpy(zero_copy_only=False)[kept].astype(np.float32))
        ids.append(bytes_matrix(job.read_side(unit, "signals", ["sample_id"])["sample_id"], np.uint8)[kept])
    codes = terciles(np.concatenate(scores), np.concatenate(ids))
    out, first = [], 0
    for kept in masks:
        unit_codes = np.full(len(kept), NONE, np.uint8)
        unit_codes[kept] = codes[first : first + int(kept.sum())]
        first += int(kept.sum())
        out.append(unit_codes)
    return out


def _indexed(job: Job, unit: int, outputs: dict[str, Any], codes: np.ndarray) -> list[ShardInfo]:
    """The unit's shards with their indexes; a quarantine shard's index lists no live row."""
    ids = bytes_matrix(job.read_side(unit, "signals", ["sample_id"])["sample_id"], np.uint8)
    kept = codes != NONE
    parts = {False: (codes[kept], ids[kept]), True: (codes[~kept], ids[~kept])}
    first = {False: 0, True: 0}
    shards = []
    for raw in outputs["write"][unit]["shards"]:
        shard = ShardInfo.model_validate(raw)
        start = first[shard.quarantine]
        first[shard.quarantine] = stop = start + shard.rows
        part_codes, part_ids = (column[start:stop] for column in parts[shard.quarantine])
        live = np.full(shard.rows, not shard.quarantine)
        digest, counts = write_index(job.store, np.where(live, part_codes, 1).astype(np.uint8), live, part_ids)
        shards.append(shard.model_copy(update={"index": digest, "live": counts}))
    return shards


def _write_ledger(job: Job, unit: int, outputs: dict[str, Any], codes: np.ndarray) -> None:
    plan = job.plan
    schema = ledger_schema(plan.id_type, plan.label_type)
    wanted = ["sample_id", *(["id"] if plan.id_type else []), *(["label"] if plan.label_type else [])]
    signals = job.read_side(unit, "signals", wanted)
    batch = _ledger_batch(job, outputs, schema, signals, job.read_side(unit, "verdicts"), job.read_side(unit, "difficulty"), codes)
    with job.store.writer(Ledger.file_name(job.run, unit)) as sink, pa.ipc.new_file(sink, schema, options=_OPTIONS) as writer:
        for start in range(0, batch.num_rows, 65_536):
            writer.write_batch(batch.slice(start, 65_536))


def _ledger_batch(
    job: Job, outputs: dict[str, Any], schema: pa.Schema, signals: pa.Table, verdicts: pa.Table, scores: pa.Table, codes: np.ndarray
) -> pa.RecordBatch:
    names = pa.array(reason_names(job.recipe), pa.string())
    rows = verdicts.num_rows
    labels = pa.array(outputs["validate"]["classes"], job.plan.label_type) if job.plan.label_type else None
    reason = verdicts["reason"].to_numpy()
    predicted = verdicts["predicted"].to_numpy()
    nested = verdicts["reasons"].combine_chunks()
    columns: dict[str, Any] = {
        "sample_id": signals["sample_id"].combine_chunks(),
        "action": pa.DictionaryArray.from_arrays(pa.array(verdicts["action"].to_numpy().astype(np.int8)), pa.array(ACTIONS)),
        "reason": pa.DictionaryArray.from_arrays(pa.array(reason, mask=reason < 0), names),
        "reasons": pa.ListArray.from_arrays(nested.offsets, pa.DictionaryArray.from_arrays(nested.values, names)),
        "given_label": signals["label"].combine_chunks() if labels is not None else pa.nulls(rows),
        "predicted_label": labels.take(pa.array(predicted, mask=predicted < 0)) if labels is not None else pa.nulls(rows),
        "difficulty": pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int8), mask=codes == NONE), pa.array(DIFFICULTIES)),
        "difficulty_score": scores["score"].combine_chunks(),
        "policy_version": pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array([outputs["learn"]["policy"]])),
    }
    if job.plan.id_type is not None:
        columns["id"] = signals["id"].combine_chunks()
    for name in ("label_score", "confidence", "propensity", "duplicate_of", "similarity"):
        columns[name] = verdicts[name].combine_chunks()
    return pa.record_batch([columns[field.name].cast(field.type) for field in schema], schema=schema)
