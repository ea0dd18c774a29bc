"""What training learnt of each row, taken in: checked, clipped, kept in the store, counted once.

Knows the columns of the contract and the catalog's feedback; nothing of HTTP. The job a row counts for is the one in
the address; a row that names another is refused, so no job can speak for another.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from api.bodies import View
from api.plan_shelf import known_plan, report
from api.service import Service
from curator.catalog import TrainingJob
from curator.catalog.feedback import MAX_ROWS
from curator.epochs.adaptive import Adaptive, Losses
from curator.errors import ConflictError, InputError, RequestError
from curator.feedback import FEEDBACK_FILE, clipped, write_batch

__all__ = ["NOTHING_BY_SAMPLE", "Accepted", "accept", "accept_epoch", "table_of_arrow", "table_of_rows"]

_SPOKEN_FOR: Final = ("training_job", "plan")


class Accepted(View):
    """`rows` were sent, `accepted` of them count; the rest had been reported before. `clipped` losses were outside
    [0, 20]. `epochs` by difficulty were new. `digest`: of the rows, null when none were sent."""

    digest: str | None
    rows: int
    accepted: int
    clipped: int
    epochs: int = 0


NOTHING_BY_SAMPLE: Final = Accepted(digest=None, rows=0, accepted=0, clipped=0)


def table_of_arrow(data: bytes) -> pa.Table:
    """A table from an Arrow IPC stream. Raises InputError for other bytes, or too many rows."""
    try:
        with pa.ipc.open_stream(data) as reader:
            batches, rows = [], 0
            for batch in reader:
                rows += batch.num_rows
                if rows > MAX_ROWS:
                    raise RequestError(f"more than {MAX_ROWS} rows in one request; send them in several")
                batches.append(batch)
            return pa.Table.from_batches(batches, reader.schema)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"the body is no Arrow IPC stream: {error}") from error


def table_of_rows(rows: list[dict[str, Any]]) -> pa.Table:
    """A table from JSON rows, sample ids in hex. Raises InputError naming the row."""
    for number, row in enumerate(rows):
        try:
            row["sample_id"] = bytes.fromhex(row["sample_id"])
        except (ValueError, TypeError) as error:
            raise InputError("is not 32 hex digits", row=number, column="sample_id") from error
    columns = FEEDBACK_FILE.names + [name for name in _SPOKEN_FOR if any(row.get(name) is not None for row in rows)]
    fields = [
        FEEDBACK_FILE.field(name) if name in FEEDBACK_FILE.names else pa.field(name, pa.string()) for name in columns
    ]
    try:
        arrays = [pa.array([row.get(field.name) for row in rows], field.type) for field in fields]
    except (pa.ArrowException, OverflowError, TypeError) as error:
        raise InputError(f"the rows do not fit the columns of feedback: {error}") from error
    return pa.table(arrays, schema=pa.schema(fields))


def accept(service: Service, job: TrainingJob, table: pa.Table) -> Accepted:
    """Stores a batch and records which of its rows count. Raises InputError, ConflictError for a job that has ended."""
    _open(job)
    rows, num_clipped = _checked(job, table)
    path, digest = write_batch(service.store, job.id, rows)
    receipt = service.catalog.feedback.accept(
        job.tenant,
        job.id,
        digest=digest,
        path=path,
        sample_ids=rows["sample_id"].to_pylist(),
        epochs=rows["epoch"].to_numpy(),
    )
    return Accepted(digest=digest, rows=receipt.rows, accepted=receipt.accepted, clipped=num_clipped)


def accept_epoch(service: Service, job: TrainingJob, epoch: int, losses: Losses) -> bool:
    """Records an epoch's losses by difficulty, and moves the job's plan by them if it is adaptive. Whether they were
    new. Raises ConflictError for a job that has ended, or when other losses of the epoch were first."""
    _open(job)
    fresh = service.catalog.feedback.accept_losses(job.tenant, job.id, epoch, losses.model_dump())
    if job.plan is not None:
        _, plan = known_plan(service, job.tenant, job.plan)
        if isinstance(plan.curriculum, Adaptive):
            report(service, job.tenant, job.plan, epoch, losses)
    return fresh


def _open(job: TrainingJob) -> None:
    if job.state in ("cancelled", "failed"):
        raise ConflictError(f"training job {job.id} is {job.state}; it takes no more feedback")


def _checked(job: TrainingJob, table: pa.Table) -> tuple[pa.Table, int]:
    unknown = sorted(set(table.schema.names) - {*FEEDBACK_FILE.names, *_SPOKEN_FOR})
    if unknown:
        raise InputError(f"unknown; feedback has {', '.join(FEEDBACK_FILE.names)}", column=unknown[0])
    for name, own in (("training_job", job.id), ("plan", None)):
        _same(table, name, own)
    columns = []
    for field in FEEDBACK_FILE:
        if field.name not in table.schema.names:
            if not field.nullable:
                raise InputError("missing", column=field.name)
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        try:
            column = table[field.name].cast(field.type)
        except pa.ArrowException as error:
            raise InputError(f"does not become {field.type}: {error}", column=field.name) from error
        if not field.nullable and column.null_count:
            raise InputError("null", row=_first(pc.is_null(column)), column=field.name)
        columns.append(column)
    return clipped(pa.table(columns, schema=FEEDBACK_FILE))


def _same(table: pa.Table, name: str, own: str | None) -> None:
    """Refuses rows that speak for another job; a column of several plans mixes two streams up."""
    if name not in table.schema.names:
        return
    named = [value for value in pc.unique(table[name]).to_pylist() if value is not None]
    if own is not None and any(value != own for value in named):
        other = next(value for value in named if value != own)
        raise InputError(f"names {other!r}, but feedback here counts for {own}", column=name)
    if len(named) > 1:
        raise InputError(f"names {len(named)} different ones; send one stream's rows at a time", column=name)


def _first(mask: Any) -> int:
    return int(pc.index(mask, True).as_py())
