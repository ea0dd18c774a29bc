"""The report card of a run: counts, reasons with example rows, difficulty, scorecard, seconds; gathered from its files.

Knows where a run's files lie, nothing of how a card is shown. What an example shows of its row is what was judged: the
recipe's content columns, as the service and the dashboard show them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from api.cells import shown_row
from curator.errors import NotFoundError, RequestError
from curator.ledger import Ledger
from curator.shards.manifest import Manifest
from curator.shards.reader import ShardReader
from curator.storage import Store

if TYPE_CHECKING:
    from curator.recipe import Recipe

__all__ = ["Example", "Move", "Reason", "ReportCard", "gather", "gather_from_server"]

NUM_EXAMPLES: Final = 3
NUM_MOVES: Final = 10
EXCERPT_CHARS: Final = 300
EMPTY: Final = "(empty)"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Example(_Frozen):
    """A row that a reason decided. `content`: what was judged, cut to an excerpt, "(empty)" where there is none, ""
    where it is not known; a picture by its size, and a small one as a data URL in `picture`."""

    id: str
    action: str
    content: str
    picture: str | None = None
    given_label: str | None = None
    predicted_label: str | None = None


class Reason(_Frozen):
    name: str
    meaning: str
    rows: int
    examples: tuple[Example, ...]


class Move(_Frozen):
    """Rows whose label went from one value to another; `given` is None for rows that had none."""

    given: str | None
    predicted: str
    rows: int


class ReportCard(_Frozen):
    """Everything a report shows. `summary` is the run's summary, as `winnow curate --json` prints it."""

    summary: dict[str, Any]
    reasons: tuple[Reason, ...]
    moves: tuple[Move, ...]
    scorecard: tuple[tuple[str, str], ...]


class _Content(NamedTuple):
    text: str
    picture: str | None


_UNKNOWN: Final = _Content("", None)


def gather(store: Store, run: str) -> ReportCard:
    """The card of a finished run. Raises NotFoundError when the run has no report (yet), IntegrityError."""
    try:
        summary = json.loads(store.read_bytes(f"runs/{run}/report.json"))
    except NotFoundError as error:
        raise NotFoundError(
            f"run {run} has no report in {store.uri}: it has not finished, or the root is another one"
        ) from error
    scorecard = summary.pop("scorecard", {})
    chosen, moves = _walk(Ledger(store, run).scan())
    recipe = _recipe(store, run)
    content = _contents(store, summary["manifest"], chosen, recipe.content_columns)
    return _card(summary, scorecard, chosen, moves, content, recipe.reasons)


def gather_from_server(client: Any, run: str) -> ReportCard:
    """The card of a server's run: the one `gather` makes of its files.

    Raises RequestError when the run has not succeeded, and as the client does.
    """
    view = client.run(run)
    if view["summary"] is None:
        raise RequestError(f"run {run} is {view['state']}; a report card is made of a run that has succeeded")
    chosen, moves = _walk(client.decision_batches(run))
    metrics = client.metrics(run)
    content = _contents_from_server(client, run, chosen)
    return _card(view["summary"], metrics["scorecard"] or {}, chosen, moves, content, metrics["meanings"])


def _card(
    summary: dict[str, Any],
    scorecard: Mapping[str, Any],
    chosen: Mapping[str, list[dict[str, Any]]],
    moves: Counter[tuple[str | None, str]],
    content: Mapping[bytes, _Content],
    meanings: Mapping[str, str],
) -> ReportCard:
    reasons = tuple(
        Reason(
            name=name,
            meaning=meanings.get(name, ""),
            rows=rows,
            examples=tuple(_example(row, content.get(row["sample_id"], _UNKNOWN)) for row in chosen.get(name, ())),
        )
        for name, rows in summary["reasons"].items()
    )
    top = tuple(Move(given=given, predicted=new, rows=rows) for (given, new), rows in moves.most_common(NUM_MOVES))
    return ReportCard(summary=summary, reasons=reasons, moves=top, scorecard=tuple(_flat(scorecard)))


def _example(row: Mapping[str, Any], content: _Content) -> Example:
    return Example(
        id=str(row["id"]) if row.get("id") is not None else row["sample_id"].hex(),
        action=row["action"],
        content=content.text,
        picture=content.picture,
        given_label=_text(row["given_label"]),
        predicted_label=_text(row["predicted_label"]),
    )


def _walk(batches: Iterable[pa.RecordBatch]) -> tuple[dict[str, list[dict[str, Any]]], Counter[tuple[str | None, str]]]:
    """The first rows of each reason, and how many rows were relabelled from what to what; one pass over a ledger."""
    chosen: dict[str, list[dict[str, Any]]] = {}
    moves: Counter[tuple[str | None, str]] = Counter()
    for batch in batches:
        reasons, actions = (_plain(batch.column(name)) for name in ("reason", "action"))
        for name in reasons.unique().drop_null().to_pylist():
            wanting = NUM_EXAMPLES - len(chosen.get(name, []))
            if wanting > 0:
                rows = batch.filter(pc.equal(reasons, name)).slice(0, wanting)
                chosen.setdefault(name, []).extend(rows.to_pylist())
        relabeled = batch.filter(pc.equal(actions, "relabel")).select(["given_label", "predicted_label"])
        moves.update((_text(row["given_label"]), str(row["predicted_label"])) for row in relabeled.to_pylist())
    return chosen, moves


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _contents(
    store: Store, manifest_id: str, chosen: Mapping[str, list[dict[str, Any]]], columns: Sequence[str]
) -> dict[bytes, _Content]:
    """What was judged of the chosen rows, quarantined ones too, by sample id. columns: the recipe's content columns."""
    ids = list({row["sample_id"]: None for part in chosen.values() for row in part})
    if not ids:
        return {}
    reader, manifest = ShardReader(store), Manifest.load(store, manifest_id)
    cells = reader.take(manifest, reader.locate(manifest, pa.array(ids, pa.binary(16))), columns).to_pylist()
    return {sample_id: _content(shown_row(row)[0], columns) for sample_id, row in zip(ids, cells, strict=True)}


def _contents_from_server(client: Any, run: str, reasons: Iterable[str]) -> dict[bytes, _Content]:
    """As `_contents`: the first rows of each reason, which are those `_walk` chooses."""
    pages = [client.decision_page(run, reason=name, rows=True, limit=NUM_EXAMPLES) for name in reasons]
    return {
        bytes.fromhex(item["sample_id"]): _content(item["row"], page["content"]) if page["content"] else _UNKNOWN
        for page in pages
        for item in page["items"]
    }


def _content(row: Mapping[str, Any], columns: Sequence[str]) -> _Content:
    """The content columns of a row, as `shown_row` shows it: parts that are there, a blank line between them."""
    picture, parts = None, []
    for name in columns:
        value = row[name]
        if isinstance(value, Mapping):
            picture = f"data:{value['media_type']};base64,{value['base64']}" if value["base64"] else None
            value = f"{name}: {value['bytes']} bytes" if value["bytes"] else None
        if value is not None and value.strip():
            parts.append(value)
    whole = "\n\n".join(parts) or EMPTY
    return _Content(whole if len(whole) <= EXCERPT_CHARS else whole[: EXCERPT_CHARS - 1] + "…", picture)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _recipe(store: Store, run: str) -> Recipe:
    from pipelines.job import Job

    return Job(store.uri, run).recipe


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, text) of every number and word; lists by their length."""
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{name}.")
        elif isinstance(item, list):
            yield f"{prefix}{name}", f"{len(item)} entries"
        elif item is not None:
            yield f"{prefix}{name}", f"{item:.4g}" if isinstance(item, float) else str(item)
