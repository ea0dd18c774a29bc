"""Write: a unit's rows are read again and go, by their verdicts, to shards or to quarantine. Acts; does not judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from curator.shards import ShardInfo, ShardWriter
from curator.verdict import DROP, RELABEL, apply
from pipelines.job import Job
from pipelines.judging import load_rows
from pipelines.phases.rank import final_labels, load_heads, load_surprisal
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
    new_labels = _new_labels(job, outputs, actions, verdicts["predicted"].to_numpy())
    measure = _measure(job, unit, outputs, actions)
    scores = np.full(len(actions), np.nan, np.float32)
    kept, quarantine = (ShardWriter(job.store, shard_schema(job), quarantine=flag) for flag in (False, True))
    for span, batch in _whole_rows(job, unit):
        scores[span] = measure(batch, span)
        labels = None if new_labels is None else new_labels.slice(span.start, batch.num_rows)
        parts = apply(batch, actions[span], label=_label(job), new_labels=labels)
        kept.write(parts.kept.select(shard_schema(job).names))
        quarantine.write(parts.dropped.select(shard_schema(job).names))
    _write_scores(job, unit, np.where(actions == DROP, np.nan, scores).astype(np.float32))
    shards: list[ShardInfo] = [*kept.close(), *quarantine.close()]
    return {"shards": [shard.model_dump(mode="json") for shard in shards]}


def _whole_rows(job: Job, unit: int) -> Iterator[tuple[slice, pa.RecordBatch]]:
    """The unit's rows with all columns and their sample ids, and where they lie among the unit's n rows."""
    ids = job.read_side(unit, "signals", ["sample_id"])["sample_id"].combine_chunks()
    first = 0
    for _, batch in used_rows(job.plan, unit):
        span = slice(first, first + batch.num_rows)
        yield span, batch.append_column("sample_id", ids.slice(first, batch.num_rows))
        first = span.stop


def _measure(
    job: Job, unit: int, outputs: dict[str, Any], actions: np.ndarray
) -> Callable[[pa.RecordBatch, slice], np.ndarray]:
    """(batch, span) -> difficulty float32: text is measured as it passes, labelled rows by their vectors."""
    if (actions == DROP).all():
        return lambda batch, _: np.full(batch.num_rows, np.nan, np.float32)
    if job.recipe.task != "classification":
        surprisal = load_surprisal(job)
        return lambda batch, _: surprisal.score(content(batch, job.recipe))
    rows, _ = load_rows(job, unit, outputs)
    assert rows.embeddings is not None
    losses = load_heads(job).score(rows.embeddings, final_labels(job, unit, rows.labels), rows.ids)
    return lambda _, span: losses[span]


def _write_scores(job: Job, unit: int, scores: np.ndarray) -> None:
    batch = pa.record_batch([pa.array(scores, mask=np.isnan(scores))], names=["score"])
    with job.side_writer(unit, "difficulty", batch.schema) as writer:
        writer.write_batch(batch)


def _label(job: Job) -> str | None:
    return job.recipe.columns.label if job.recipe.task == "classification" else None


def _new_labels(job: Job, outputs: dict[str, Any], actions: np.ndarray, predicted: np.ndarray) -> pa.Array | None:
    """The label column's new values where the action is relabel, null elsewhere."""
    if job.plan.label_type is None:
        return None
    classes = pa.array(outputs["validate"]["classes"], job.plan.label_type)
    return classes.take(pa.array(predicted, mask=actions != RELABEL))
