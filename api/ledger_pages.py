"""Verdicts by page or as one Arrow stream, and what became of one sample.

Knows ledgers and shards; nothing of HTTP. A cursor is (part of the ledger, rows of it already given): a page reads at
most the parts its rows lie in, however far down the list it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from api.bodies import View
from api.cells import plain, shown_row
from api.service import Service
from curator.catalog import Run
from curator.catalog.paging import checked_limit, decode_cursor, encode_cursor
from curator.errors import ConflictError, NotFoundError, RequestError
from curator.ledger import Ledger
from curator.recipe import parse
from curator.run import RunState
from curator.storage import Store

__all__ = ["Decisions", "Filter", "arrow_stream", "decisions_page", "ledger_of", "sample_bytes", "verdict_on"]


class Filter(BaseModel):
    """Which rows; None: all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: str | None = None
    reason: str | None = None
    difficulty: str | None = None
    min_confidence: float | None = None


class Decisions(View):
    """Ledger rows in input order. With `rows=true` each has its `row`: the data itself, long texts cut (`row_cut`);
    with `signals=true` every signal of the run as `signal.NAME`. `content`: the row's columns that were judged, in
    order; none where another version of Winnow stored the run's request."""

    items: tuple[dict[str, Any], ...]
    content: tuple[str, ...]
    next_cursor: str | None


def ledger_of(store: Store, run: Run) -> Ledger:
    """Raises ConflictError while the run has none yet."""
    if run.state != RunState.SUCCEEDED:
        raise ConflictError(f"run {run.id} is {run.state}; its decisions can be read once it has succeeded")
    return Ledger(store, run.id)


def decisions_page(
    service: Service,
    run: Run,
    chosen: Filter,
    *,
    cursor: str | None,
    limit: int,
    with_rows: bool,
    with_signals: bool = False,
) -> Decisions:
    """Raises ConflictError for an unfinished run, RequestError for a foreign cursor or a limit out of range."""
    ledger = ledger_of(service.store, run)
    part, skip = (0, 0) if cursor is None else decode_cursor(cursor, [int, int])
    if not (0 <= part <= len(ledger.files) and skip >= 0):
        raise RequestError(f"cursor {cursor!r} was not given out by this list; start again without a cursor")
    items: list[dict[str, Any]] = []
    scan = partial(_scan, service, ledger, chosen, with_signals)
    for number, place, row in _rows(scan, len(ledger.files), part, skip):
        if len(items) == checked_limit(limit):
            return _page(service, run, items, encode_cursor([number, place]), with_rows)
        items.append(row)
    checked_limit(limit)
    return _page(service, run, items, None, with_rows)


def arrow_stream(service: Service, run: Run, chosen: Filter, *, with_signals: bool = False) -> Iterator[bytes]:
    """The rows as an Arrow IPC stream, a batch in memory at a time. What cannot be read is refused before the first
    byte. Raises ConflictError for an unfinished run, NotFoundError when its signals are gone."""
    ledger = ledger_of(service.store, run)
    if with_signals:
        schema, batches = _described(service, run.id, chosen)
    else:
        schema, batches = ledger.schema, ledger.scan(**chosen.model_dump())
    return _streamed(schema, batches)


def _streamed(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
    sink = _Pieces()
    with pa.ipc.new_stream(sink, schema) as writer:
        yield sink.taken()
        for batch in batches:
            writer.write_batch(batch)
            yield sink.taken()
    yield sink.taken()


def verdict_on(ledger: Ledger, sample_id: bytes) -> dict[str, Any] | None:
    """The ledger's row of a sample, if it has one."""
    wanted = pa.scalar(sample_id, pa.binary(16))
    for batch in ledger.scan():
        found = batch.filter(pc.equal(batch.column("sample_id"), wanted))
        if found.num_rows:
            return _exact(found.to_pylist()[0])
    return None


def sample_bytes(sample_id: str) -> bytes:
    """Raises RequestError for anything but 32 hex digits."""
    try:
        raw = bytes.fromhex(sample_id)
    except ValueError:
        raw = b""
    if len(raw) != 16:
        raise RequestError(f"{sample_id!r} is no sample id; those are 32 hex digits")
    return raw


def _scan(
    service: Service, ledger: Ledger, chosen: Filter, with_signals: bool, number: int
) -> Iterator[pa.RecordBatch]:
    """The chosen rows of one part of the ledger."""
    if with_signals:
        return _described(service, ledger.run, chosen, units=[number])[1]
    one = copy.copy(ledger)
    one.files = [ledger.files[number]]
    return one.scan(**chosen.model_dump())


def _described(
    service: Service, run: str, chosen: Filter, units: Sequence[int] | None = None
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    from pipelines.signal_rows import signal_rows  # here, as it brings readers and recipes

    return signal_rows(service.settings.root, run, units=units, **chosen.model_dump())


def _rows(
    scan: Callable[[int], Iterator[pa.RecordBatch]], num_parts: int, part: int, skip: int
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(part, place among its chosen rows, row) from a place on."""
    for number in range(part, num_parts):
        first = 0
        for batch in scan(number):
            low = max(skip - first, 0) if number == part else 0
            for start in range(low, batch.num_rows, 1000):
                for offset, row in enumerate(batch.slice(start, 1000).to_pylist()):
                    yield number, first + start + offset, _exact(row)
            first += batch.num_rows


def _exact(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain(value) for name, value in row.items()}


def _page(
    service: Service, run: Run, items: list[dict[str, Any]], next_cursor: str | None, with_rows: bool
) -> Decisions:
    if with_rows and items and run.summary is not None:
        contents = _contents(service, run.summary.manifest, [bytes.fromhex(item["sample_id"]) for item in items])
        items = [{**item, **content} for item, content in zip(items, contents, strict=True)]
    content = parse(run.request.recipe).content_columns if run.request else ()
    return Decisions(items=tuple(items), content=content, next_cursor=next_cursor)


def _contents(service: Service, manifest: str, sample_ids: Sequence[bytes]) -> list[dict[str, Any]]:
    """The samples' data from their shards, kept or quarantined."""
    found = service.reader.source.manifest(manifest)
    try:
        places = service.reader.locate(found, pa.array(sample_ids, pa.binary(16)))
    except NotFoundError as error:
        raise ConflictError(f"the data of these rows cannot be shown: {error}") from error
    rows = service.reader.take(found, places).drop_columns(["sample_id"]).to_pylist()
    shown = [shown_row(row) for row in rows]
    return [{"row": row, "row_cut": cut} for row, cut in shown]


class _Pieces:
    """A file that is only written to; what was written is taken away piece by piece."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> int:
        self._held.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        held, self._held = b"".join(self._held), []
        return held

    def flush(self) -> None:
        return None

    def close(self) -> None:
        self.closed = True
