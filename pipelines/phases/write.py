"""Write: a unit's rows are read again and go, by their verdicts, to shards or to quarantine. Acts; does not judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from curator.shards import ShardInfo, ShardWriter
from curator.verdict import DROP, RELABEL, apply
from pipelines.job import Job
from pipelines.judging import load_rows
from pipelines.phases.rank import final_labels, load_difficulty
from pipelines.phases.score import needs_embeddings
from pipelines.rows import content, used_rows

__all__ = ["shard_schema", "write"]


def shard_schema(job: Job) -> pa.Schema:
    """The user's columns, `label_before` for labelled tasks, then `sample_id`."""
    fields = list(job.plan.schema)
    if job.plan.label_type is not None:
        fields.append(pa.field("label_before", job.plan.label_type))
    return pa.schema([*fields, pa.field("sample_id", pa.binary(16))])


def write(job: Job, unit: int, outputs: dict[str, Any]) -> dict[str, Any]:
    """Publishes the unit's shards and difficulty scores. Returns {shards: [ShardInfo as JSON]}."""
    verdicts = job.read_side(unit, "verdicts", ["action", "predicted"])
    actions = verdicts["action"].to_numpy()
    scores = np.full(len(actions), np.nan, np.float32)
    kept_any = bool((actions != DROP).any())
    model = load_difficulty(job) if kept_any else None
    if kept_any and needs_embeddings(job.recipe):
        scores = _labelled_difficulty(job, unit, outputs, model)
    new_labels = _new_labels(job, outputs, actions, verdicts["predicted"].to_numpy())
    ids = job.read_side(unit, "signals", ["sample_id"])["sample_id"].combine_chunks()
    schema = shard_schema(job)
    kept, quarantine = (ShardWriter(job.store, schema, quarantine=flag) for flag in (False, True))
    first = 0
    for _, batch in used_rows(job.plan, unit):
        span = slice(first, first + batch.num_rows)
        if kept_any and not needs_embeddings(job.recipe):
            scores[span] = model.score(content(batch, job.recipe))  # type: ignore[union-attr]
        whole = batch.append_column(schema.field("sample_id"), ids.slice(first, batch.num_rows))
        parts = apply(whole, actions[span], label=_label(job), new_labels=None if new_labels is None else new_labels.slice(first, batch.num_rows))
        kept.write(parts.kept.select(schema.names))
        quarantine.write(parts.dropped.select(schema.names))
        first += batch.num_rows
    scores[actions == DROP] = np.nan
    job_scores = pa.record_batch([pa.array(scores, mask=np.isnan(scores))], names=["score"])
    with job.side_writer(unit, "difficulty", job_scores.schema) as writer:
        writer.write_batch(job_scores)
    shards: list[ShardInfo] = [*kept.close(), *quarantine.close()]
    return {"shards": [shard.model_dump(mode="json") for shard in shards]}


def _label(job: Job) -> str | None:
    return job.recipe.columns.label if job.recipe.task == "classification" else None


def _labelled_difficulty(job: Job, unit: int, outputs: dict[str, Any], model: Any) -> np.ndarray:
    rows, _ = load_rows(job, unit, outputs)
    return np.asarray(model.score(rows.embeddings, final_labels(job, unit, rows.labels), rows.ids), np.float32)


def _new_labels(job: Job, outputs: dict[str, Any], actions: np.ndarray, predicted: np.ndarray) -> pa.Array | None:
    """The label column's new values where the action is relabel, null elsewhere."""
    if job.plan.label_type is None:
        return None
    classes = pa.array(outputs["validate"]["classes"], job.plan.label_type)
    return classes.take(pa.array(predicted, mask=actions != RELABEL))
