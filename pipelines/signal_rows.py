"""Ledger rows beside the signals of the same rows: both lie in input order, work unit by work unit.

Knows ledgers and side files; decides nothing, and holds a batch of each at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curator.errors import IntegrityError, NotFoundError
from curator.ledger import Ledger
from pipelines.job import Job

__all__ = ["signal_rows"]

_PREFIX = "signal."


def signal_rows(
    root: str,
    run: str,
    *,
    units: Sequence[int] | None = None,
    action: str | None = None,
    reason: str | None = None,
    difficulty: str | None = None,
    min_confidence: float | None = None,
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema (the ledger's, then `signal.NAME` float32 for every signal of the run, null for "cannot say") and the
    rows chosen, in input order. A run whose recipe reads no signal has none: the schema is the ledger's then.

    units: the work units to read, by default all. Raises NotFoundError when the run has no ledger or its side files are
    gone, IntegrityError while reading when the two do not line up.
    """
    job = Job(root, run)
    ledger = Ledger(job.store, run)
    signals = [field for field in _side_schema(job, 0) if field.name.startswith(_PREFIX)]
    schema = pa.schema([*ledger.schema, *signals], metadata=ledger.schema.metadata)
    wanted = {"action": action, "reason": reason, "difficulty": difficulty}
    chosen = range(len(ledger.files)) if units is None else units

    def rows() -> Iterator[pa.RecordBatch]:
        for unit in chosen:
            for batch in _joined(job, ledger, unit, schema):
                kept = _filtered(batch, wanted, min_confidence)
                if kept.num_rows:
                    yield kept

    return schema, rows()


def _joined(job: Job, ledger: Ledger, unit: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """A unit's ledger rows with their signals; cut wherever a batch of either ends."""
    described = _described(job, unit)
    held = next(described, None)
    for batch in _verdicts(ledger, unit):
        done = 0
        while done < batch.num_rows:
            if held is None:
                raise IntegrityError(
                    f"run {job.run} has fewer signal rows than ledger rows; its side files are damaged"
                )
            take = min(batch.num_rows - done, held.num_rows)
            verdicts, signals = batch.slice(done, take), held.slice(0, take)
            if not verdicts.column("sample_id").equals(signals.column("sample_id")):
                raise IntegrityError(f"run {job.run}: signals and ledger do not line up; its side files are damaged")
            columns = [
                *verdicts.columns,
                *(signals.column(field.name) for field in schema if field.name.startswith(_PREFIX)),
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
            done += take
            held = held.slice(take) if take < held.num_rows else next(described, None)
    if held is not None:
        raise IntegrityError(f"run {job.run} has more signal rows than ledger rows; its side files are damaged")


def _verdicts(ledger: Ledger, unit: int) -> Iterator[pa.RecordBatch]:
    one = copy.copy(ledger)
    one.files = [ledger.files[unit]]
    return one.scan()


def _described(job: Job, unit: int) -> Iterator[pa.RecordBatch]:
    """sample_id and signals of a unit's rows, batch by batch; no other column is read."""
    schema = _side_schema(job, unit)
    fields = [place for place, name in enumerate(schema.names) if name == "sample_id" or name.startswith(_PREFIX)]
    with _side(job, unit) as source:
        reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=fields))
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)


def _side_schema(job: Job, unit: int) -> pa.Schema:
    with _side(job, unit) as source:
        return pa.ipc.open_file(source).schema


def _side(job: Job, unit: int) -> Any:
    try:
        return job.store.open_input(job.side_name(unit, "signals"))
    except NotFoundError as error:
        raise NotFoundError(f"the signals of run {job.run} are gone; its decisions can be read without them") from error


def _filtered(batch: pa.RecordBatch, wanted: dict[str, str | None], min_confidence: float | None) -> pa.RecordBatch:
    for name, value in wanted.items():
        if value is not None:
            batch = batch.filter(pc.equal(batch.column(name).dictionary_decode(), value))
    if min_confidence is not None:
        batch = batch.filter(pc.greater_equal(batch.column("confidence"), min_confidence))
    return batch
