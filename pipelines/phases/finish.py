"""Finish: difficulties over the whole set, the ledger, the shards' indexes, and at last the manifest.

The manifest is the commit point: a crash before it leaves orphan files and no lie.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from curator.difficulty import NAMES as DIFFICULTIES
from curator.difficulty import UNKNOWN, TercileCuts
from curator.errors import IntegrityError
from curator.ledger import Ledger, ledger_schema
from curator.shards import Manifest, ShardInfo, write_index
from curator.shards.layout import shard_name
from curator.verdict import ACTIONS, DROP
from pipelines.job import Job
from pipelines.phases.reasons import reason_names
from pipelines.phases.write import shard_schema
from pipelines.side import bytes_matrix

__all__ = ["finish"]

_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


def finish(job: Job, outputs: dict[str, Any]) -> dict[str, Any]:
    """Writes ledger, indexes and manifest. Returns {manifest, difficulty: {name: rows}, shards, quarantine}."""
    units = range(len(job.plan.units))
    cuts = TercileCuts.find(lambda: (_kept_scores(job, unit)[1:] for unit in units))
    counts = np.zeros(len(DIFFICULTIES), np.int64)
    shards: list[ShardInfo] = []
    rows: list[int] = []
    for unit in units:
        codes = _difficulty(job, unit, cuts)
        counts += np.bincount(codes[codes != UNKNOWN], minlength=len(DIFFICULTIES))
        _write_ledger(job, unit, outputs, codes)
        rows.append(len(codes))
        shards += _indexed(job, unit, outputs, codes)
    Ledger.seal(job.store, job.run, rows)
    manifest = Manifest.of(
        schema=shard_schema(job),
        shards=shards,
        label=job.recipe.columns.label if job.plan.label_type is not None else None,
        recipe_digest=job.recipe.digest,
        policy_version=outputs["learn"]["policy"],
        dataset_version=job.plan.dataset_version,
        run=job.run,
    )
    manifest.save(job.store)
    return {
        "manifest": manifest.id,
        "difficulty": dict(zip(DIFFICULTIES, counts.tolist(), strict=True)),
        "shards": sum(not shard.quarantine for shard in shards),
        "quarantine": sum(shard.quarantine for shard in shards),
    }


def _kept_scores(job: Job, unit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(kept bool[n], difficulty scores float32[m] and sample ids uint8[m, 16] of the kept rows)."""
    kept = job.read_side(unit, "verdicts", ["action"])["action"].to_numpy() != DROP
    scores = job.read_side(unit, "difficulty")["score"].to_numpy(zero_copy_only=False).astype(np.float32)
    ids = bytes_matrix(job.read_side(unit, "signals", ["sample_id"])["sample_id"], np.uint8)
    return kept, scores[kept], ids[kept]


def _difficulty(job: Job, unit: int, cuts: TercileCuts) -> np.ndarray:
    """uint8[n]: thirds of all kept rows, UNKNOWN for dropped ones."""
    kept, scores, ids = _kept_scores(job, unit)
    codes = np.full(len(kept), UNKNOWN, np.uint8)
    codes[kept] = cuts.classify(scores, ids)
    return codes


def _indexed(job: Job, unit: int, outputs: dict[str, Any], codes: np.ndarray) -> list[ShardInfo]:
    """The unit's shards with their indexes. A kept row lives where its shard says; a quarantined one does not."""
    ids = bytes_matrix(job.read_side(unit, "signals", ["sample_id"])["sample_id"], np.uint8)
    kept = codes != UNKNOWN
    rows = {False: np.flatnonzero(kept), True: np.flatnonzero(~kept)}
    first = {False: 0, True: 0}
    shards = []
    for raw in outputs["write"][unit]["shards"]:
        shard = ShardInfo.model_validate(raw)
        name = shard_name(shard.digest)
        if not job.store.exists(name) or job.store.size(name) != shard.bytes:
            raise IntegrityError(
                f"shard {shard.digest}, which this run wrote, is not in {job.store.uri} any more: somebody removed it "
                "while the run stood still. Start a new run"
            )
        start = first[shard.quarantine]
        first[shard.quarantine] += shard.rows
        here = rows[shard.quarantine][start : start + shard.rows]
        live = np.full(shard.rows, not shard.quarantine)
        shards.append(shard.with_index(*write_index(job.store, codes[here], live, ids[here])))
    return shards


def _write_ledger(job: Job, unit: int, outputs: dict[str, Any], codes: np.ndarray) -> None:
    plan = job.plan
    schema = ledger_schema(plan.id_type, plan.label_type)
    wanted = ["sample_id", *(["id"] if plan.id_type else []), *(["label"] if plan.label_type else [])]
    signals = job.read_side(unit, "signals", wanted)
    batch = _ledger_batch(
        job, outputs, schema, signals, job.read_side(unit, "verdicts"), job.read_side(unit, "difficulty"), codes
    )
    with (
        job.store.writer(Ledger.file_name(job.run, unit)) as sink,
        pa.ipc.new_file(sink, schema, options=_OPTIONS) as writer,
    ):
        for start in range(0, batch.num_rows, 65_536):
            writer.write_batch(batch.slice(start, 65_536))


def _ledger_batch(
    job: Job,
    outputs: dict[str, Any],
    schema: pa.Schema,
    signals: pa.Table,
    verdicts: pa.Table,
    scores: pa.Table,
    codes: np.ndarray,
) -> pa.RecordBatch:
    names = pa.array(reason_names(job.recipe), pa.string())
    rows = verdicts.num_rows
    labels = pa.array(outputs["validate"]["classes"], job.plan.label_type) if job.plan.label_type else None
    reason = verdicts["reason"].to_numpy()
    predicted = verdicts["predicted"].to_numpy()
    nested = verdicts["reasons"].combine_chunks()
    columns: dict[str, Any] = {
        "sample_id": signals["sample_id"].combine_chunks(),
        "action": pa.DictionaryArray.from_arrays(
            pa.array(verdicts["action"].to_numpy().astype(np.int8)), pa.array(ACTIONS)
        ),
        "reason": pa.DictionaryArray.from_arrays(pa.array(reason, mask=reason < 0), names),
        "reasons": pa.ListArray.from_arrays(nested.offsets, pa.DictionaryArray.from_arrays(nested.values, names)),
        "given_label": signals["label"].combine_chunks() if labels is not None else pa.nulls(rows),
        "predicted_label": labels.take(pa.array(predicted, mask=predicted < 0))
        if labels is not None
        else pa.nulls(rows),
        "difficulty": pa.DictionaryArray.from_arrays(
            pa.array(codes.astype(np.int8), mask=codes == UNKNOWN), pa.array(DIFFICULTIES)
        ),
        "difficulty_score": scores["score"].combine_chunks(),
        "policy_version": pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(rows, np.int8)), pa.array([outputs["learn"]["policy"]])
        ),
    }
    if job.plan.id_type is not None:
        columns["id"] = signals["id"].combine_chunks()
    for name in ("label_score", "confidence", "propensity", "duplicate_of", "similarity"):
        columns[name] = verdicts[name].combine_chunks()
    return pa.record_batch([columns[field.name].cast(field.type) for field in schema], schema=schema)
