"""/v1/review: rows of a run whose truth is worth most, asked of people: claim them, say what is true, use it.

Parses and answers; the catalog leases, `api/review_views.py` tells, `api/review_use.py` applies.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Request
from pydantic import Field, ValidationError
from starlette.responses import Response

from api.auth import Caller, Reader, Reviewer, Writer
from api.bodies import Body, Note, routes_under
from api.errors import Refusal
from api.once import create_once
from api.overrides import Overridden
from api.replies import known_already, reply
from api.review_use import apply_verdicts, check_label, trusted_file, trusted_table
from api.review_views import (
    Claimed,
    ItemList,
    ItemView,
    QueueDetail,
    QueueList,
    claimed_view,
    item_views,
    queue_detail,
    queue_view,
)
from api.service import service_of
from curator.catalog import ReviewAction, ReviewItem
from curator.catalog.paging import decode_cursor, encode_cursor
from curator.catalog.review_opening import open_review, recipe_of
from curator.catalog.review_records import ItemState, Label
from curator.errors import LeaseLostError, RequestError
from curator.review import Order, ReviewSettings

routes = routes_under("/v1/review", "review")

LEASE_S = 900.0
"""How long a claimed row waits for its verdict: a quarter of an hour, after which it is offered to others."""

_MEDIA = {"parquet": "application/vnd.apache.parquet", "arrow": "application/vnd.apache.arrow.file"}


class NewQueue(Body):
    """`budget`: rows to ask about, by default the recipe's `policy.review_budget`. `audit_share`: of them drawn at
    random. `overlap`: share of them asked of two people. `order`: the others by the worth of knowing their truth, or by
    the policy's `confidence`, lowest first. `min_worth`: what a look costs, in rows with a right label: rows worth less
    are not asked about, so the queue may be shorter."""

    run: str
    budget: int | None = Field(default=None, ge=1, le=10_000)
    audit_share: float = Field(default=0.2, ge=0, le=1, strict=True)
    overlap: float = Field(default=0.0, ge=0, le=1, strict=True)
    order: Order = "worth"
    min_worth: float = Field(default=0.0, ge=0, le=3)
    seed: int = Field(default=0, ge=0, lt=2**63)


class NewVerdict(Body):
    """`keep`: as it was given. `relabel`: keep it with `label`. `lease`: the claim's token, unless If-Match has it."""

    action: ReviewAction
    label: Label | None = None
    note: Note = ""
    lease: str | None = None


class Lease(Body):
    lease: str | None = None


class Apply(Body):
    """`manifest`: the one to change, by default the run's newest."""

    manifest: str | None = None
    note: Note = ""


@routes.post("/queues", status_code=201, response_model=QueueDetail)
def open_queue(request: Request, caller: Writer, body: NewQueue) -> Response:
    """Opens a review of a finished run; equal settings are the same queue."""
    service = service_of(request)
    run = service.catalog.runs.get(caller.tenant, body.run)
    budget = body.budget if body.budget is not None else recipe_of(run).policy.review_budget
    if budget == 0:
        raise RequestError(f"the recipe of run {run.id} has no policy.review_budget; say how many rows in `budget`")
    try:
        settings = ReviewSettings(**body.model_dump(exclude={"run", "budget"}), budget=budget)
    except ValidationError as error:
        raise RequestError(
            f"policy.review_budget {budget} is more than a queue holds; give a smaller budget"
        ) from error

    def make(queue_id: str) -> tuple[int, str, QueueDetail]:
        queue = open_review(service.catalog, service.store, run, settings, queue_id=queue_id)
        return 201, f"/v1/review/queues/{queue.id}", queue_detail(service, queue)

    return create_once(request, caller, body, "rev", make)


@routes.get("/queues", response_model=QueueList)
def list_queues(
    request: Request,
    caller: Reader,
    run: str | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """The tenant's queues (or those of one run), newest first."""
    reviews = service_of(request).catalog.reviews
    page = reviews.page(caller.tenant, run=run, cursor=cursor, limit=limit)
    counts = reviews.counts([queue.id for queue in page.items])
    items = tuple(queue_view(queue, counts.get(queue.id, (0, 0))) for queue in page.items)
    return reply(request, QueueList(items=items, next_cursor=page.next_cursor, poll_after_ms=5000))


@routes.get("/queues/{queue_id}", response_model=QueueDetail)
def get_queue(request: Request, caller: Reader, queue_id: str) -> Response:
    """How far a review is, and how far its reviewers agree."""
    service = service_of(request)
    queue = service.catalog.reviews.get(caller.tenant, queue_id)
    stamp = str(service.catalog.reviews.stamp(queue_id))  # before the items are read: never newer than what is told
    return known_already(request, stamp) or reply(request, queue_detail(service, queue), etag=stamp)


@routes.get("/queues/{queue_id}/items", response_model=ItemList)
def list_items(
    request: Request,
    caller: Reader,
    queue_id: str,
    state: ItemState | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """A queue's items in its order, `disputed` ones for one."""
    service = service_of(request)
    queue = service.catalog.reviews.get(caller.tenant, queue_id)
    after = -1 if cursor is None else decode_cursor(cursor, [int])[0]
    items = service.catalog.reviews.items(caller.tenant, queue_id)
    found = [item for item in items if item.position > after and state in (None, item.state)]
    page = found[:limit]
    more = encode_cursor([page[-1].position]) if len(found) > limit else None
    views = item_views(service, queue, page, [None] * len(page))
    return reply(request, ItemList(items=views, next_cursor=more))


@routes.post("/queues/{queue_id}:claim", response_model=Claimed)
def claim_items(
    request: Request, caller: Reviewer, queue_id: str, n: Annotated[int, Query(ge=1, le=100)] = 10
) -> Response:
    """Up to `n` rows for the caller alone, each under a lease; never one the caller holds, answered or skipped."""
    service = service_of(request)
    queue = service.catalog.reviews.get(caller.tenant, queue_id)
    claimed = service.catalog.reviews.claim(caller.tenant, queue_id, caller.name, n, LEASE_S)
    return reply(request, claimed_view(service, queue, claimed))


@routes.get("/items/{item_id}", response_model=ItemView)
def get_item(request: Request, caller: Reader, item_id: str) -> Response:
    """One row under review."""
    return _told(request, caller, service_of(request).catalog.reviews.item(caller.tenant, item_id))


@routes.post("/items/{item_id}/verdict", response_model=ItemView)
def post_verdict(request: Request, caller: Reviewer, item_id: str, body: NewVerdict) -> Response:
    """What is true of a row, under the lease of a claim; its ETag is what an amendment has to show."""
    reviews = service_of(request).catalog.reviews
    item = reviews.item(caller.tenant, item_id)
    check_label(reviews.get(caller.tenant, item.queue), item, body.action, body.label)
    token, by_header = _token(request, body.lease)
    try:
        done = reviews.answer(caller.tenant, item_id, caller.name, token, body.action, body.label, body.note)
    except LeaseLostError as error:
        raise (_refusal(error) if by_header else error) from error.__cause__
    mine = next(answer for answer in done.answers if answer.reviewer == caller.name)
    return _told(request, caller, done, etag=mine.token)


@routes.post("/items/{item_id}:skip", response_model=ItemView)
def skip_item(request: Request, caller: Reviewer, item_id: str, body: Lease) -> Response:
    """Leaves a claimed row to others; the caller is not asked about it again."""
    return _given_back(request, caller, item_id, body, skip=True)


@routes.post("/items/{item_id}:release", response_model=ItemView)
def release_item(request: Request, caller: Reviewer, item_id: str, body: Lease) -> Response:
    """Gives a claimed row back before its lease runs out."""
    return _given_back(request, caller, item_id, body, skip=False)


@routes.post("/queues/{queue_id}:apply", status_code=201, response_model=Overridden)
def apply_queue(request: Request, caller: Writer, queue_id: str, body: Apply) -> Response:
    """A new manifest in which every settled row is as the reviewers said; disputed rows stay as they are."""
    service = service_of(request)
    queue = service.catalog.reviews.get(caller.tenant, queue_id)

    def make(_: str) -> tuple[int, str, Overridden]:
        made = apply_verdicts(service, caller, queue, base=body.manifest, note=body.note)
        return 201, f"/v1/manifests/{made.manifest}", made

    return create_once(request, caller, body, "man", make)


@routes.get(
    "/queues/{queue_id}/trusted",
    response_class=Response,
    responses={200: {"content": {media: {} for media in _MEDIA.values()}}},
)
def get_trusted(
    request: Request,
    caller: Reader,
    queue_id: str,
    format: Literal["parquet", "arrow"] = "parquet",
    with_trusted: bool = False,
) -> Response:
    """Settled rows as a trusted sample for the next run; `with_trusted`: with the rows of the run's own."""
    service = service_of(request)
    queue = service.catalog.reviews.get(caller.tenant, queue_id)
    data = trusted_file(trusted_table(service, queue, with_trusted=with_trusted), format)
    headers = {
        "Content-Disposition": f'attachment; filename="{queue.id}.{format}"',
        "Cache-Control": "private, no-cache",
    }
    return Response(data, headers=headers, media_type=_MEDIA[format])


def _given_back(request: Request, caller: Caller, item_id: str, body: Lease, *, skip: bool) -> Response:
    reviews = service_of(request).catalog.reviews
    reviews.item(caller.tenant, item_id)
    token, by_header = _token(request, body.lease)
    try:
        return _told(request, caller, reviews.give_back(caller.tenant, item_id, caller.name, token, skip=skip))
    except LeaseLostError as error:
        raise (_refusal(error) if by_header else error) from error.__cause__


def _told(request: Request, caller: Caller, item: ReviewItem, *, etag: str | None = None) -> Response:
    service = service_of(request)
    queue = service.catalog.reviews.get(caller.tenant, item.queue)
    return reply(request, item_views(service, queue, [item], [None])[0], etag=etag)


def _token(request: Request, given: str | None) -> tuple[str, bool]:
    """(the lease's token, whether If-Match brought it). Raises Refusal 428 without one, RequestError for two."""
    header = request.headers.get("if-match")
    if header is not None and given is not None and header.strip().strip('"') != given:
        raise RequestError("If-Match and `lease` name different leases; send one")
    if given is not None:
        return given, False
    if header is None:
        raise Refusal(428, "precondition_required", "send the claim's lease token, in If-Match or as `lease`")
    return header.strip().strip('"'), True


def _refusal(error: LeaseLostError) -> Refusal:
    return Refusal(412, "precondition_failed", str(error))
