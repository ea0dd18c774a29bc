"""What callers see of a review: queues, items with their row, how far it is and how far reviewers agree.

Knows the catalog's reviews and the shards their rows lie in. Nobody is shown what another reviewer said of an item
before everybody asked has answered: their answers must not hang on each other.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from api.bodies import View
from api.cells import shown_row
from api.review_use import has_truth
from api.service import Service
from curator.agreement import cohens_kappa, raw_agreement
from curator.catalog import Answer, ReviewAction, ReviewItem, ReviewLease, ReviewQueue
from curator.catalog.review_records import ItemState, Label

__all__ = [
    "Claimed",
    "ItemList",
    "ItemView",
    "QueueDetail",
    "QueueList",
    "QueueView",
    "claimed_view",
    "item_views",
    "outcome",
    "queue_detail",
    "queue_view",
]


class QueueView(View):
    """`content`: the row's columns that were judged, in order. `label`, `classes`: what a relabel may say; null and
    empty where rows have no label. `answers_wanted`: one for every item, two for those asked of two people."""

    id: str
    run: str
    manifest: str
    task: str
    content: tuple[str, ...]
    label: str | None
    classes: tuple[Label, ...]
    settings: dict[str, Any]
    num_items: int
    answers_wanted: int
    answers_given: int
    created_at: dt.datetime


class Part(View):
    """Items of one kind. `confirmed`: settled ones where people said what the run had decided."""

    items: int
    settled: int
    confirmed: int


class Pair(View):
    """Two reviewers on the items both answered. `kappa`: Cohen's, null where they gave only one kind of answer."""

    reviewers: tuple[str, str]
    items: int
    agreement: float
    kappa: float | None


class Agreement(View):
    """Over the items asked of two: the share answered alike; `kappa` is the pairs' mean, weighted by items."""

    items: int
    agreement: float | None
    kappa: float | None
    pairs: tuple[Pair, ...]


class QueueDetail(QueueView):
    """`trusted_rows`: rows its trusted file has now; `trusted_left_out`: settled rows that have no place in it (a
    dropped row has no true label). `skipped`: how often an item was passed on."""

    states: dict[ItemState, int]
    skipped: int
    uncertain: Part
    audit: Part
    agreement: Agreement
    trusted_rows: int
    trusted_left_out: int
    poll_after_ms: int | None


class QueueList(View):
    items: tuple[QueueView, ...]
    next_cursor: str | None
    poll_after_ms: int


class AnswerView(View):
    reviewer: str
    action: ReviewAction
    label: Label | None
    note: str
    at: dt.datetime


class ItemView(View):
    """`verdict`: the ledger's row, with the given label, the proposed one and the reason. `row`: the data, long texts
    cut (`row_cut`). `answers`: empty until everybody asked has answered."""

    id: str
    queue: str
    position: int
    sample_id: str
    why: Literal["uncertain", "audit"]
    state: ItemState
    verdict: dict[str, Any]
    row: dict[str, Any]
    row_cut: tuple[str, ...]
    lease: ReviewLease | None
    answers: tuple[AnswerView, ...]


class ItemList(View):
    items: tuple[ItemView, ...]
    next_cursor: str | None


class Claimed(View):
    """Items that are the caller's until their leases run out; none when nothing is left to ask this caller."""

    queue: str
    items: tuple[ItemView, ...]


def queue_view(queue: ReviewQueue, counts: tuple[int, int]) -> QueueView:
    return QueueView(**_basics(queue, counts))


def queue_detail(service: Service, queue: ReviewQueue) -> QueueDetail:
    items = service.catalog.reviews.items(queue.tenant, queue.id)
    answers = [answer for item in items for answer in item.answers]
    given = sum(answer.state == "answered" for answer in answers)
    states = Counter(item.state for item in items)
    settled = [item for item in items if item.state == "settled"]
    without_truth = sum(not has_truth(queue, item) for item in settled)
    order: tuple[ItemState, ...] = ("open", "leased", "settled", "disputed")
    return QueueDetail(
        **_basics(queue, (len(answers), given)),
        states={state: states[state] for state in order},
        skipped=service.catalog.reviews.num_skipped(queue.id),
        uncertain=_part([item for item in items if item.why == "uncertain"]),
        audit=_part([item for item in items if item.why == "audit"]),
        agreement=_agreement(items),
        trusted_rows=len(settled) - without_truth,
        trusted_left_out=without_truth,
        poll_after_ms=None if given == len(answers) else 3000,
    )


def item_views(
    service: Service, queue: ReviewQueue, items: Sequence[ReviewItem], leases: Sequence[ReviewLease | None]
) -> tuple[ItemView, ...]:
    """Items with their data. Raises NotFoundError or IntegrityError where the shards are gone or damaged."""
    places = np.array([(item.shard, item.row) for item in items], np.int64).reshape(-1, 2)
    rows: list[dict[str, Any]] = []
    if len(items):
        rows = service.reader.take(queue.about["manifest"], places).drop_columns(["sample_id"]).to_pylist()
    return tuple(_item_view(item, lease, row) for item, lease, row in zip(items, leases, rows, strict=True))


def claimed_view(service: Service, queue: ReviewQueue, claimed: Sequence[tuple[ReviewItem, ReviewLease]]) -> Claimed:
    items, leases = [item for item, _ in claimed], [lease for _, lease in claimed]
    return Claimed(queue=queue.id, items=item_views(service, queue, items, leases))


def outcome(item: ReviewItem, answer: Answer) -> tuple[Any, ...]:
    """What becomes of the row: gone, or kept with this label. The same label by another road is the same outcome."""
    if answer.action == "drop":
        return ("drop",)
    return ("keep", answer.label if answer.action == "relabel" else item.verdict.get("given_label"))


def _item_view(item: ReviewItem, lease: ReviewLease | None, row: dict[str, Any]) -> ItemView:
    data, cut = shown_row(row)
    answers = [_answer_view(answer) for answer in item.answers] if item.state in ("settled", "disputed") else []
    fields = {name: getattr(item, name) for name in ("id", "queue", "position", "sample_id", "why", "state", "verdict")}
    return ItemView(**fields, row=data, row_cut=cut, lease=lease, answers=tuple(answers))


def _answer_view(answer: Answer) -> AnswerView:
    assert answer.reviewer is not None and answer.action is not None and answer.answered_at is not None
    return AnswerView(
        reviewer=answer.reviewer,
        action=answer.action,
        label=answer.label,
        note=answer.note or "",
        at=answer.answered_at,
    )


def _basics(queue: ReviewQueue, counts: tuple[int, int]) -> dict[str, Any]:
    about = queue.about
    return {
        "id": queue.id,
        "run": queue.run,
        "manifest": about["manifest"],
        "task": about["task"],
        "content": tuple(about.get("content", ())),
        "label": about["label"],
        "classes": tuple(about["classes"]),
        "settings": queue.settings,
        "num_items": queue.num_items,
        "answers_wanted": counts[0],
        "answers_given": counts[1],
        "created_at": queue.created_at,
    }


def _first(item: ReviewItem) -> Answer:
    return item.answers[0]


def _part(items: Sequence[ReviewItem]) -> Part:
    settled = [item for item in items if item.state == "settled"]
    confirmed = sum(outcome(item, _first(item)) == _decided(item) for item in settled)
    return Part(items=len(items), settled=len(settled), confirmed=confirmed)


def _decided(item: ReviewItem) -> tuple[Any, ...]:
    """The run's own verdict as an outcome."""
    if item.verdict["action"] == "drop":
        return ("drop",)
    relabeled = item.verdict["action"] == "relabel"
    return ("keep", item.verdict["predicted_label" if relabeled else "given_label"])


def _agreement(items: Sequence[ReviewItem]) -> Agreement:
    by_pair: dict[tuple[str, str], list[tuple[Any, Any]]] = {}
    for item in items:
        if len(item.answers) == 2 and item.state in ("settled", "disputed"):
            one, two = sorted(item.answers, key=lambda answer: str(answer.reviewer))
            names = (str(one.reviewer), str(two.reviewer))
            by_pair.setdefault(names, []).append((outcome(item, one), outcome(item, two)))
    pairs = tuple(
        Pair(reviewers=names, items=len(said), agreement=raw_agreement(said) or 0.0, kappa=cohens_kappa(said))
        for names, said in sorted(by_pair.items())
    )
    told = [(pair.kappa, pair.items) for pair in pairs if pair.kappa is not None]
    return Agreement(
        items=sum(pair.items for pair in pairs),
        agreement=raw_agreement([both for said in by_pair.values() for both in said]),
        kappa=sum(kappa * count for kappa, count in told) / sum(count for _, count in told) if told else None,
        pairs=pairs,
    )
