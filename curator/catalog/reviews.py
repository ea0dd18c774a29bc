"""Rows under review: queues, claims with a lease and a fence, and what reviewers answered.

Knows nothing of how rows are chosen (`curator/review.py`) or of what their verdicts are used for. An item has one place
for every person it is asked of; a reviewer holds one place of an item at most, and none of one they skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from curator.catalog.database import Database, ignoring, insert_new, now
from curator.catalog.events import emit
from curator.catalog.ids import new_id
from curator.catalog.paging import Page, checked_limit, decode_cursor, page_of
from curator.catalog.review_records import Answer, Label, NewItem, ReviewAction, ReviewItem, ReviewLease, ReviewQueue
from curator.catalog.schema_review import review_answers, review_items, review_queues, review_skips
from curator.digest import content_id
from curator.errors import LeaseLostError, NotFoundError

__all__ = ["Reviews"]

_ANSWERS, _ITEMS, _SKIPS = review_answers.c, review_items.c, review_skips.c
_BLANK: Final[dict[str, Any]] = {"reviewer": None, "lease_until": None}
_ROWS_A_STATEMENT: Final = 500


class Reviews:
    def __init__(self, database: Database):
        self._db = database

    def find(self, tenant: str, run: str, settings: Mapping[str, Any]) -> ReviewQueue | None:
        """The queue of a run with these settings, if it was opened."""
        digest = content_id("rvs", dict(settings))
        mine = (review_queues.c.tenant == tenant, review_queues.c.run == run, review_queues.c.digest == digest)
        with self._db.read() as connection:
            row = connection.execute(sa.select(review_queues).where(*mine)).mappings().one_or_none()
        return None if row is None else ReviewQueue(**row)

    def open(
        self,
        tenant: str,
        run: str,
        settings: Mapping[str, Any],
        about: Mapping[str, Any],
        items: Sequence[NewItem],
        *,
        queue_id: str | None = None,
    ) -> ReviewQueue:
        """A queue of these items in this order. A run's queue with equal settings is the same one: whoever is second
        changes nothing."""
        key = {"tenant": tenant, "run": run, "digest": content_id("rvs", dict(settings))}
        made = queue_id or new_id("rev")
        values = {**key, "id": made, "settings": dict(settings), "about": dict(about), "num_items": len(items)}
        with self._db.write() as connection:
            if insert_new(connection, review_queues, **values, created_at=now()):
                _fill(connection, made, items)
                emit(connection, tenant, "review.opened", made, {"run": run, "items": len(items)})
            return ReviewQueue(**connection.execute(sa.select(review_queues).filter_by(**key)).mappings().one())

    def get(self, tenant: str, queue_id: str) -> ReviewQueue:
        """Raises NotFoundError."""
        with self._db.read() as connection:
            return _queue(connection, tenant, queue_id)

    def page(
        self, tenant: str, *, run: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> Page[ReviewQueue]:
        """The tenant's queues (or those of one run), newest first."""
        query = sa.select(review_queues).where(review_queues.c.tenant == tenant).order_by(review_queues.c.id.desc())
        if run is not None:
            query = query.where(review_queues.c.run == run)
        if cursor is not None:
            query = query.where(review_queues.c.id < decode_cursor(cursor, [str])[0])
        with self._db.read() as connection:
            rows = connection.execute(query.limit(checked_limit(limit) + 1)).mappings()
            found = [ReviewQueue(**row) for row in rows]
        return page_of(found, limit, lambda queue: (queue.id,))

    def item(self, tenant: str, item_id: str) -> ReviewItem:
        """Raises NotFoundError."""
        with self._db.read() as connection:
            return _item(connection, tenant, item_id)

    def items(self, tenant: str, queue_id: str) -> list[ReviewItem]:
        """All items of a queue in their order (at most 10,000). Raises NotFoundError."""
        with self._db.read() as connection:
            _queue(connection, tenant, queue_id)
            return _items(connection, _ITEMS.queue == queue_id)

    def claim(
        self, tenant: str, queue_id: str, reviewer: str, num_items: int, lease_s: float
    ) -> list[tuple[ReviewItem, ReviewLease]]:
        """Up to `num_items` items nobody is looking at, first ones first, for this reviewer alone until the lease runs
        out. Never an item the reviewer holds, has answered or skipped. Raises NotFoundError."""
        with self._db.write() as connection:
            _queue(connection, tenant, queue_id, lock=True)  # claims of a queue take turns
            slots = _free_slots(connection, queue_id, reviewer, num_items)
            leased = {"state": "leased", "reviewer": reviewer, "lease_until": now() + lease_s}
            for item, slot in slots:
                where = sa.and_(_ANSWERS.item == item, _ANSWERS.slot == slot)
                raised = {**leased, "fence": _ANSWERS.fence + 1}
                connection.execute(sa.update(review_answers).where(where).values(**raised))
            found = _items(connection, _ITEMS.id.in_([item for item, _ in slots]))
        mine = dict(slots)
        return [(item, _lease(item.answers[mine[item.id]])) for item in found]

    def answer(
        self,
        tenant: str,
        item_id: str,
        reviewer: str,
        token: str,
        action: ReviewAction,
        label: Label | None = None,
        note: str = "",
    ) -> ReviewItem:
        """Writes a verdict down, or amends one under the token its answer gave. The same verdict sent again changes
        nothing. Raises NotFoundError; LeaseLostError when the place is no longer this reviewer's under that token."""
        given = {"action": action, "label": label, "note": note}
        with self._db.write() as connection:
            item = _item(connection, tenant, item_id, lock=True)
            slot, fence = ReviewLease.parts(token)
            place = _held(item, slot, reviewer)
            if place is not None and _said(place) == given and place.token == f"{slot}.{fence + 1}":
                return item  # its answer was lost on the way back
            if place is None or place.token != token:
                raise _lost(item, token)
            done = {**given, "state": "answered", "lease_until": None, "answered_at": now(), "fence": fence + 1}
            _write(connection, item_id, slot, done)
            return _item(connection, tenant, item_id)

    def give_back(self, tenant: str, item_id: str, reviewer: str, token: str, *, skip: bool) -> ReviewItem:
        """Frees a claimed item for others; with `skip` this reviewer is not asked again. Raises NotFoundError;
        LeaseLostError when it is no longer this reviewer's, or answered."""
        with self._db.write() as connection:
            item = _item(connection, tenant, item_id, lock=True)
            slot, fence = ReviewLease.parts(token)
            place = _held(item, slot, reviewer)
            if place is None or place.token != token or place.state != "leased":
                raise _lost(item, token)
            _write(connection, item_id, slot, {**_BLANK, "state": "open", "fence": fence + 1})
            if skip:
                insert_new(connection, review_skips, item=item_id, reviewer=reviewer, at=now())
            return _item(connection, tenant, item_id)

    def counts(self, queue_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """(answers wanted, answers given) by queue."""
        given = sa.func.sum(sa.case((_ANSWERS.state == "answered", 1), else_=0))
        query = sa.select(_ANSWERS.queue, sa.func.count(), given).where(_ANSWERS.queue.in_(list(queue_ids)))
        with self._db.read() as connection:
            rows = connection.execute(query.group_by(_ANSWERS.queue))
            return {queue: (int(wanted), int(done)) for queue, wanted, done in rows}

    def stamp(self, queue_id: str) -> int:
        """A number that grows with every claim, answer, skip and return: what is told of a queue changes with it."""
        query = sa.select(sa.func.sum(_ANSWERS.fence)).where(_ANSWERS.queue == queue_id)
        with self._db.read() as connection:
            return int(connection.execute(query).scalar() or 0)

    def num_skipped(self, queue_id: str) -> int:
        """How often items of a queue were skipped."""
        query = sa.select(sa.func.count()).select_from(review_skips.join(review_items, _ITEMS.id == _SKIPS.item))
        with self._db.read() as connection:
            return connection.execute(query.where(_ITEMS.queue == queue_id)).scalar_one()


def _fill(connection: sa.Connection, queue_id: str, items: Sequence[NewItem]) -> None:
    named = [(new_id("rvi"), position, item) for position, item in enumerate(items)]
    rows = [
        {"id": name, "queue": queue_id, "position": position, **item.model_dump(exclude={"num_reviewers"})}
        for name, position, item in named
    ]
    empty = {"state": "open", "fence": 0}
    places = [
        {"item": name, "slot": slot, "queue": queue_id, "position": position, **empty}
        for name, position, item in named
        for slot in range(item.num_reviewers)
    ]
    for table, lines in ((review_items, rows), (review_answers, places)):
        for start in range(0, len(lines), _ROWS_A_STATEMENT):
            connection.execute(ignoring(connection, table), lines[start : start + _ROWS_A_STATEMENT])


def _free_slots(connection: sa.Connection, queue_id: str, reviewer: str, num_items: int) -> list[tuple[str, int]]:
    """(item, slot) of places this reviewer may take, one an item."""
    other = review_answers.alias()
    held = sa.and_(
        other.c.item == _ANSWERS.item,
        other.c.reviewer == reviewer,
        sa.or_(other.c.state == "answered", other.c.lease_until >= now()),
    )
    skipped = sa.and_(_SKIPS.item == _ANSWERS.item, _SKIPS.reviewer == reviewer)
    free = sa.or_(_ANSWERS.state == "open", sa.and_(_ANSWERS.state == "leased", _ANSWERS.lease_until < now()))
    query = (
        sa.select(_ANSWERS.item, sa.func.min(_ANSWERS.slot), _ANSWERS.position)
        .where(_ANSWERS.queue == queue_id, free)
        .where(~sa.exists().where(held), ~sa.exists().where(skipped))
        .group_by(_ANSWERS.item, _ANSWERS.position)
        .order_by(_ANSWERS.position)
        .limit(num_items)
    )
    return [(item, slot) for item, slot, _ in connection.execute(query)]


def _write(connection: sa.Connection, item_id: str, slot: int, values: dict[str, Any]) -> None:
    where = sa.and_(_ANSWERS.item == item_id, _ANSWERS.slot == slot)
    connection.execute(sa.update(review_answers).where(where).values(**values))


def _said(answer: Answer) -> dict[str, Any]:
    return {"action": answer.action, "label": answer.label, "note": answer.note}


def _held(item: ReviewItem, slot: int, reviewer: str) -> Answer | None:
    """The place, if this reviewer was its last holder."""
    return next((a for a in item.answers if a.slot == slot and a.reviewer == reviewer), None)


def _lost(item: ReviewItem, token: str) -> LeaseLostError:
    return LeaseLostError(
        f"lease {token} on item {item.id} is not this reviewer's any more: it ran out and the item went to somebody "
        "else, or it was answered or given back since; nothing was changed, claim anew"
    )


def _lease(answer: Answer) -> ReviewLease:
    assert answer.lease_until is not None
    return ReviewLease(token=answer.token, expires_at=answer.lease_until)


def _queue(connection: sa.Connection, tenant: str, queue_id: str, *, lock: bool = False) -> ReviewQueue:
    query = sa.select(review_queues).where(review_queues.c.tenant == tenant, review_queues.c.id == queue_id)
    row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"there is no review queue {queue_id!r}; check the id and the credential")
    return ReviewQueue(**row)


def _item(connection: sa.Connection, tenant: str, item_id: str, *, lock: bool = False) -> ReviewItem:
    found = _items(connection, sa.and_(_ITEMS.id == item_id, review_queues.c.tenant == tenant), lock=lock)
    if not found:
        raise NotFoundError(f"there is no review item {item_id!r}; check the id and the credential")
    return found[0]


def _items(connection: sa.Connection, where: sa.ColumnElement[bool], *, lock: bool = False) -> list[ReviewItem]:
    """Items with their places, in the queue's order."""
    joined = review_items.join(review_queues, _ITEMS.queue == review_queues.c.id)
    query = sa.select(review_items).select_from(joined).where(where).order_by(_ITEMS.position)
    if lock:
        query = query.with_for_update(of=review_queues)  # answers and claims of a queue take turns
    rows = connection.execute(query).mappings().all()
    ids = sa.select(_ITEMS.id).select_from(joined).where(where)
    places: dict[str, list[Answer]] = {}
    for row in connection.execute(
        sa.select(review_answers).where(_ANSWERS.item.in_(ids)).order_by(_ANSWERS.item, _ANSWERS.slot)
    ).mappings():
        places.setdefault(row["item"], []).append(_answer(row))
    return [ReviewItem(**row, answers=tuple(places[row["id"]])) for row in rows]


def _answer(row: sa.RowMapping) -> Answer:
    fields = {name: row[name] for name in Answer.model_fields if name != "token"}
    return Answer(**fields, token=f"{row['slot']}.{row['fence']}")
