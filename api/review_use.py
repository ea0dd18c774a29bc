"""What settled verdicts are good for: overturning the run's in bulk, and a trusted sample for the next run.

Knows reviews, manifests and shards; nothing of HTTP. Disputed rows are left out of both: people must agree first.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from api.auth import Caller
from api.overrides import Overridden, overturn
from api.service import Service
from curator.catalog import ReviewItem, ReviewQueue
from curator.catalog.review_opening import trusted_rows
from curator.catalog.review_records import Label
from curator.errors import ConflictError, RequestError
from curator.shards import Override
from curator.shards.layout import LABEL_BEFORE

__all__ = ["apply_verdicts", "check_label", "has_truth", "trusted_file", "trusted_table"]


def check_label(queue: ReviewQueue, item: ReviewItem, action: str, label: Label | None) -> None:
    """Raises RequestError for a verdict that cannot be applied to the row."""
    if action != "relabel":
        if label is not None:
            raise RequestError(f"{action} with label {label!r}; only a relabel has one")
        return
    if queue.about["label"] is None:
        raise RequestError(f"the rows of queue {queue.id} have no label, so nothing can be relabelled; keep or drop")
    if label is None:
        raise RequestError("a relabel needs the label the row should have")
    classes = queue.about["classes"]
    if not any(type(known) is type(label) and known == label for known in classes):
        shown = ", ".join(repr(known) for known in classes[:20])
        raise RequestError(
            f"label {label!r} is no class of the data; it has {shown}{' …' if len(classes) > 20 else ''}"
        )
    if label == item.verdict["given_label"]:
        raise RequestError(f"the row was given label {label!r} already; say keep")


def apply_verdicts(service: Service, caller: Caller, queue: ReviewQueue, *, base: str | None, note: str) -> Overridden:
    """A child of `base` (default: the run's newest manifest) in which every settled row is as the reviewers said.

    Raises ConflictError while nothing is settled; as `overturn` otherwise.
    """
    settled = _settled(service, queue)
    changes = [
        Override(sample_id=item.sample_id, action=answer.action, label=answer.label)
        for item in settled
        if (answer := item.answers[0]).action is not None
    ]
    if not changes:
        raise ConflictError(f"no item of queue {queue.id} is settled yet; there is nothing to apply")
    run = service.catalog.runs.get(caller.tenant, queue.run)
    return overturn(service, caller, run, changes, base=base, note=note or f"review {queue.id}")


def has_truth(queue: ReviewQueue, item: ReviewItem) -> bool:
    """Whether a settled row has a place in a trusted sample: where rows have labels, a dropped one has no true label,
    and one kept as it was given has none if it was given none."""
    action = item.answers[0].action
    return (
        queue.about["label"] is None
        or action == "relabel"
        or (action == "keep" and item.verdict["given_label"] is not None)
    )


def trusted_table(service: Service, queue: ReviewQueue, *, with_trusted: bool) -> pa.Table:
    """Settled rows as the trusted sample a run takes: the data's id column, and the true label or `keep`.

    Rows without a truth are left out (`has_truth`). with_trusted: with the rows of the run's own
    trusted sample, so that the next run can be given one file. Raises ConflictError without an id column to join by,
    or without a row.
    """
    column, label = queue.about["id"], queue.about["label"]
    if column is None:
        raise ConflictError(
            f"run {queue.run} has no id column, and a trusted sample is joined by id; name one in columns.id, run again"
        )
    items = _settled(service, queue)
    parts = []
    if label is None:
        truth = pa.array([item.answers[0].action == "keep" for item in items], pa.bool_())
        parts.append(pa.table({column: _take(service, queue, _places(items), [column])[column], "keep": truth}))
    else:
        parts.append(_labelled(service, queue, [item for item in items if has_truth(queue, item)]))
    if with_trusted:
        parts.append(_given(service, queue))
    table = pa.concat_tables(parts)
    if not table.num_rows:
        raise ConflictError(f"no item of queue {queue.id} is settled with a truth yet; there is no trusted sample")
    return table


def trusted_file(table: pa.Table, form: Literal["parquet", "arrow"]) -> bytes:
    """The table as a file of that format."""
    sink = pa.BufferOutputStream()
    if form == "parquet":
        pq.write_table(table, sink, compression="zstd")
    else:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    return bytes(sink.getvalue())


def _settled(service: Service, queue: ReviewQueue) -> list[ReviewItem]:
    return [item for item in service.catalog.reviews.items(queue.tenant, queue.id) if item.state == "settled"]


def _labelled(service: Service, queue: ReviewQueue, items: list[ReviewItem]) -> pa.Table:
    column, label = queue.about["id"], queue.about["label"]
    rows = _take(service, queue, _places(items), [column, label, LABEL_BEFORE])
    given = pc.coalesce(rows[LABEL_BEFORE], rows[label])
    relabeled = pa.array([item.answers[0].action == "relabel" for item in items], pa.bool_())
    said = pa.array([item.answers[0].label for item in items]).cast(given.type)
    return pa.table({column: rows[column], label: pc.if_else(relabeled, said, given)})


def _given(service: Service, queue: ReviewQueue) -> pa.Table:
    """The run's own trusted sample in the same columns."""
    column, label = queue.about["id"], queue.about["label"]
    known = trusted_rows(service.store, queue.run)
    ids = known["sample_id"].combine_chunks()
    places = service.reader.locate(queue.about["manifest"], ids) if len(ids) else np.zeros((0, 2), np.int64)
    rows = _take(service, queue, places, [column] if label is None else [column, label])
    if label is None:
        return pa.table({column: rows[column], "keep": pc.equal(known["truth"], 1)})
    classes = pa.array(queue.about["classes"]).cast(rows.schema.field(label).type)
    return pa.table({column: rows[column], label: classes.take(known["truth"].combine_chunks())})


def _places(items: list[ReviewItem]) -> np.ndarray[Any, Any]:
    return np.array([(item.shard, item.row) for item in items], np.int64).reshape(-1, 2)


def _take(service: Service, queue: ReviewQueue, places: np.ndarray[Any, Any], columns: list[str]) -> pa.RecordBatch:
    return service.reader.take(queue.about["manifest"], places, columns)
