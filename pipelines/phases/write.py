"""Write: a unit's rows are read again and go, by their verdicts, to shards or to quarantine. Acts; does not judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.duplicates import content_hash
from curator.errors import InputError
from curator.feedback import losses_of
from curator.shards import ShardInfo, ShardWriter
from curator.signals.personal import PersonalData
from curator.verdict import DROP, RELABEL, apply
from pipelines.job import Job
from pipelines.judging import load_rows, reported_losses
from pipelines.phases.rank import final_labels, load_heads, load_surprisal
from pipelines.rows import content, label_values
from pipelines.side import bytes_matrix

__all__ = ["PROBES", "shard_schema", "write"]

PROBES: Final = 64
"""Rows of a batch whose content is hashed again: about 1 ms of 4,096 rows of 1 kB, where all of them would take 60."""


def shard_schema(job: Job) -> pa.Schema:
    """The user's columns, `label_before` for labelled tasks, then `sample_id`."""
    fields = list(job.plan.schema)
    if job.plan.label_type is not None:
        fields.append(pa.field("label_before", job.plan.label_type))
    return pa.schema([*fields, pa.field("sample_id", pa.binary(16))])


def write(job: Job, unit: int, outputs: dict[str, Any]) -> dict[str, Any]:
    """Publishes the unit's shards and difficulty scores. Returns {shards: [ShardInfo as JSON], reported: rows with a
    loss in the run's feedback, None without any}. Raises InputError where a row is not the one that was judged."""
    verdicts = job.read_side(unit, "verdicts", ["action", "predicted"])
    actions = verdicts["action"].to_numpy()
    new_labels = _new_labels(job, outputs, actions, verdicts["predicted"].to_numpy())
    measure = _measure(job, unit, outputs, actions)
    scores = np.full(len(actions), np.nan, np.float32)
    kept, quarantine = (ShardWriter(job.store, shard_schema(job), quarantine=flag) for flag in (False, True))
    for span, batch in _whole_rows(job, unit):
        scores[span] = measure(batch, span)
        labels = None if new_labels is None else new_labels.slice(span.start, batch.num_rows)
        texts = _new_texts(job, batch, actions[span])
        parts = apply(batch, actions[span], label=_label(job), new_labels=labels, new_texts=texts)
        kept.write(parts.kept.select(shard_schema(job).names))
        quarantine.write(parts.dropped.select(shard_schema(job).names))
    _write_scores(job, unit, np.where(actions == DROP, np.nan, scores).astype(np.float32))
    shards: list[ShardInfo] = [*kept.close(), *quarantine.close()]
    return {"shards": [shard.model_dump(mode="json") for shard in shards], "reported": _reported(job, unit)}


def _reported(job: Job, unit: int) -> int | None:
    if job.plan.feedback is None:
        return None
    ids = bytes_matrix(job.read_side(unit, "signals", ["sample_id"])["sample_id"], np.uint8)
    return int(np.isfinite(losses_of(ids, *reported_losses(job.root, job.plan.feedback))).sum())


def _whole_rows(job: Job, unit: int) -> Iterator[tuple[slice, pa.RecordBatch]]:
    """The unit's rows with all columns and their sample ids, and where they lie among the unit's n rows.

    The verdicts are of the rows that were read before: what a row was called and how long it was then, it must still
    be, and of every batch `PROBES` rows must still say the same. (Whether the file was written to, the reader asks.)
    """
    judged = ["content_bytes", *(["id"] if job.plan.id_type else []), *(["label"] if job.plan.label_type else [])]
    side = job.read_side(unit, "signals", ["sample_id", "content_hash", *judged]).combine_chunks()
    ids = side["sample_id"].combine_chunks()
    first = 0
    for numbers, batch in job.used_rows(unit):
        span = slice(first, first + batch.num_rows)
        here = side.slice(first, batch.num_rows)
        for name in judged:
            _require_same(job, unit, numbers, _read_again(job, batch, name), here[name].combine_chunks())
        probed = np.arange(0, min(batch.num_rows, here.num_rows), -(-batch.num_rows // PROBES))
        now = _hashes(content(batch.take(pa.array(probed)), job.recipe))
        _require_same(job, unit, numbers[probed], now, here["content_hash"].combine_chunks().take(pa.array(probed)))
        yield span, batch.append_column("sample_id", ids.slice(first, batch.num_rows))
        first = span.stop
    if first != side.num_rows:
        raise _changed(job, unit, f"{first} rows are used now where {side.num_rows} were judged")


def _read_again(job: Job, batch: pa.RecordBatch, name: str) -> pa.Array:
    """What `score` put into the side file's column of this name."""
    if name == "content_bytes":
        return pc.fill_null(pc.binary_length(content(batch, job.recipe)).cast(pa.int64()), 0)
    return label_values(batch, job.recipe) if name == "label" else batch.column(str(job.recipe.columns.id))


def _hashes(values: pa.Array) -> pa.Array:
    raw = np.ascontiguousarray(content_hash(values), dtype=np.uint64)
    return pa.Array.from_buffers(pa.binary(16), len(raw), [None, pa.py_buffer(raw)])


def _require_same(job: Job, unit: int, numbers: np.ndarray, now: pa.Array, judged: pa.Array) -> None:
    """Raises InputError naming the first row that changed. numbers: int64[n], the rows' numbers in the file."""
    if now.equals(judged):
        return
    place = min(len(now), len(judged))
    for row in range(place):
        if now[row] != judged[row]:
            place = row
            break
    raise _changed(job, unit, "not the row that was judged", int(numbers[min(place, len(numbers) - 1)]))


def _changed(job: Job, unit: int, what: str, row: int | None = None) -> InputError:
    return InputError(
        f"{what}: the file was changed while the run worked on it, so the verdicts are about other rows; no manifest "
        "was made. Start a new run on the file as it is now, and leave it alone until the run is done",
        file=job.unit(unit).source.uri,
        row=row,
    )


def _measure(
    job: Job, unit: int, outputs: dict[str, Any], actions: np.ndarray
) -> Callable[[pa.RecordBatch, slice], np.ndarray]:
    """(batch, span) -> difficulty float32: text is measured as it passes, labelled rows by their vectors."""
    if (actions == DROP).all():
        return lambda batch, _: np.full(batch.num_rows, np.nan, np.float32)
    if job.recipe.task != "classification":
        surprisal = load_surprisal(job)
        dropped = pa.array(actions == DROP)
        return lambda batch, span: surprisal.score(_but(dropped[span], content(batch, job.recipe)))
    rows, _ = load_rows(job, unit, outputs)
    assert rows.embeddings is not None
    losses = load_heads(job).score(rows.embeddings, final_labels(job, unit, rows.labels), rows.ids)
    return lambda _, span: losses[span]


def _but(dropped: pa.Array, values: pa.Array) -> pa.Array:
    """The values, null where a row is dropped: nobody asks how hard it is."""
    return pc.if_else(dropped, pa.scalar(None, values.type), values)


def _write_scores(job: Job, unit: int, scores: np.ndarray) -> None:
    batch = pa.record_batch([pa.array(scores, mask=np.isnan(scores))], names=["score"])
    with job.side_writer(unit, "difficulty", batch.schema) as writer:
        writer.write_batch(batch)


def _new_texts(job: Job, batch: pa.RecordBatch, actions: np.ndarray) -> dict[str, pa.Array] | None:
    """The content columns with personal data masked where the action is relabel, null elsewhere; where the recipe
    masks any."""
    kinds = {kind for op in job.recipe.process if isinstance(op, PersonalData) for kind in op.mask}
    relabel = pa.array(actions == RELABEL)
    if not kinds or not pc.any(relabel).as_py():
        return None
    from curator.signals.text.personal import masked  # numba: only where there is something to mask

    columns = {name: batch.column(name) for name in job.recipe.content_columns}
    return {
        name: pc.replace_with_mask(pa.nulls(len(column), column.type), relabel, masked(column.filter(relabel), kinds))
        for name, column in columns.items()
    }


def _label(job: Job) -> str | None:
    return job.recipe.columns.label if job.recipe.task == "classification" else None


def _new_labels(job: Job, outputs: dict[str, Any], actions: np.ndarray, predicted: np.ndarray) -> pa.Array | None:
    """The label column's new values where the action is relabel, null elsewhere."""
    if job.plan.label_type is None:
        return None
    classes = pa.array(outputs["validate"]["classes"], job.plan.label_type)
    return classes.take(pa.array(predicted, mask=actions != RELABEL))
