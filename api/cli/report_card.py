"""The report card of a run: counts, reasons with example rows, difficulty, scorecard, seconds; gathered from its files.

Knows where a run's files lie, nothing of how a card is shown.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from curator.errors import NotFoundError
from curator.ledger import Ledger
from curator.shards.layout import LABEL_BEFORE, SAMPLE_ID
from curator.shards.manifest import Manifest
from curator.shards.reader import ShardReader
from curator.storage import Store
from curator.verdict import POLICY_REASONS

__all__ = ["Example", "Move", "Reason", "ReportCard", "gather"]

NUM_EXAMPLES: Final = 3
NUM_MOVES: Final = 10
EXCERPT_CHARS: Final = 300


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Example(_Frozen):
    """A row that a reason decided; `content` is cut to an excerpt, bytes are told by their number."""

    id: str
    action: str
    content: str
    given_label: str | None = None
    predicted_label: str | None = None


class Reason(_Frozen):
    name: str
    meaning: str
    rows: int
    examples: tuple[Example, ...]


class Move(_Frozen):
    """Rows whose label went from one value to another."""

    given: str
    predicted: str
    rows: int


class ReportCard(_Frozen):
    """Everything a report shows. `summary` is the run's summary, as `winnow curate --json` prints it."""

    summary: dict[str, Any]
    reasons: tuple[Reason, ...]
    moves: tuple[Move, ...]
    scorecard: tuple[tuple[str, str], ...]


def gather(store: Store, run: str) -> ReportCard:
    """The card of a finished run. Raises NotFoundError when the run has no report (yet), IntegrityError."""
    try:
        raw = json.loads(store.read_bytes(f"runs/{run}/report.json"))
    except NotFoundError as error:
        raise NotFoundError(
            f"run {run} has no report in {store.uri}: it has not finished, or the root is another one"
        ) from error
    scorecard = raw.pop("scorecard", {})
    chosen, moves = _walk(Ledger(store, run))
    examples = _examples(store, raw["manifest"], chosen)
    meanings = _meanings(store, run)
    reasons = tuple(
        Reason(name=name, meaning=meanings.get(name, ""), rows=rows, examples=tuple(examples.get(name, ())))
        for name, rows in raw["reasons"].items()
    )
    top = tuple(Move(given=given, predicted=new, rows=rows) for (given, new), rows in moves.most_common(NUM_MOVES))
    return ReportCard(summary=raw, reasons=reasons, moves=top, scorecard=tuple(_flat(scorecard)))


def _walk(ledger: Ledger) -> tuple[dict[str, list[dict[str, Any]]], Counter[tuple[str, str]]]:
    """The first rows of each reason, and how many rows were relabelled from what to what; one pass over the ledger."""
    chosen: dict[str, list[dict[str, Any]]] = {}
    moves: Counter[tuple[str, str]] = Counter()
    names = [
        name
        for name in ("sample_id", "id", "action", "reason", "given_label", "predicted_label")
        if name in ledger.schema.names
    ]
    for batch in ledger.scan(columns=names):
        reasons = batch.column("reason").dictionary_decode()
        for name in reasons.unique().drop_null().to_pylist():
            wanting = NUM_EXAMPLES - len(chosen.get(name, []))
            if wanting > 0:
                rows = batch.filter(pc.equal(reasons, name)).slice(0, wanting)
                chosen.setdefault(name, []).extend(rows.to_pylist())
        relabeled = batch.filter(pc.equal(batch.column("action").dictionary_decode(), "relabel"))
        if relabeled.num_rows:
            pairs = zip(
                relabeled.column("given_label").to_pylist(),
                relabeled.column("predicted_label").to_pylist(),
                strict=True,
            )
            moves.update((str(given), str(new)) for given, new in pairs)
    return chosen, moves


def _examples(store: Store, manifest_id: str, chosen: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[Example]]:
    """Ledger rows with what the shards hold of them, quarantined ones too."""
    rows = [row for part in chosen.values() for row in part]
    if not rows:
        return {}
    reader, manifest = ShardReader(store), Manifest.load(store, manifest_id)
    ids = pa.array([row["sample_id"] for row in rows], pa.binary(16))
    names = [column.name for column in manifest.columns if column.name not in (SAMPLE_ID, LABEL_BEFORE, manifest.label)]
    content = reader.take(manifest, reader.locate(manifest, ids), names).to_pylist()
    by_id = {row["sample_id"]: cells for row, cells in zip(rows, content, strict=True)}
    return {
        name: [
            Example(
                id=str(row["id"]) if row.get("id") is not None else row["sample_id"].hex(),
                action=row["action"],
                content=_excerpt(by_id[row["sample_id"]]),
                given_label=_text(row["given_label"]),
                predicted_label=_text(row["predicted_label"]),
            )
            for row in part
        ]
        for name, part in chosen.items()
    }


def _excerpt(cells: Mapping[str, Any]) -> str:
    """A row's longest texts first, since they are what was judged; bytes by their number."""
    texts = sorted((value for value in cells.values() if isinstance(value, str) and value), key=len, reverse=True)
    blobs = [f"{name}: {len(value)} bytes" for name, value in cells.items() if isinstance(value, bytes)]
    whole = " · ".join([*texts[:1], *blobs]) or " · ".join(f"{name}: {value}" for name, value in cells.items())
    return whole if len(whole) <= EXCERPT_CHARS else whole[: EXCERPT_CHARS - 1] + "…"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _meanings(store: Store, run: str) -> dict[str, str]:
    """What each reason means: the policy's own and those of the recipe's operators."""
    from pipelines.job import Job

    meanings = dict(POLICY_REASONS)
    for operator in Job(store.uri, run).recipe.process:
        if isinstance(operator.reasons, Mapping):
            meanings.update(operator.reasons)
    return meanings


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, text) of every number and word; lists by their length."""
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{name}.")
        elif isinstance(item, list):
            yield f"{prefix}{name}", f"{len(item)} entries"
        elif item is not None:
            yield f"{prefix}{name}", f"{item:.4g}" if isinstance(item, float) else str(item)
