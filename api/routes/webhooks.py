"""/v1/webhooks: who outside is told of what happens. For administrators.

Parses and answers; the catalog keeps what is owed, `pipelines/courier.py` delivers it.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import Query, Request
from pydantic import Field
from starlette.responses import Response

from api.auth import Admin
from api.bodies import Body, View, routes_under
from api.once import create_once
from api.replies import reply, unchanged
from api.service import service_of
from curator.catalog import Delivery
from curator.catalog.events import KINDS, EventKind
from curator.catalog.webhooks import Webhook
from curator.outbound import allowed_url

routes = routes_under("/v1/webhooks", "webhooks")


class NewWebhook(Body):
    """`url` lies below one of the server's WINNOW_WEBHOOK_ROOTS. `kinds`: none means all but progress."""

    url: str = Field(min_length=1, max_length=2000)
    kinds: tuple[EventKind, ...] = Field(default=(), max_length=len(KINDS))


class WebhookView(View):
    id: str
    url: str
    kinds: tuple[str, ...]
    created_at: dt.datetime


class CreatedWebhook(WebhookView):
    """`secret` signs every message (standardwebhooks.com); it is told here and never again: null when an
    Idempotency-Key is answered a second time. Whoever missed it deletes the webhook and makes another."""

    secret: str | None


class WebhookList(View):
    items: tuple[WebhookView, ...]


class Deliveries(View):
    items: tuple[Delivery, ...]
    next_cursor: str | None


@routes.post("", status_code=201, response_model=CreatedWebhook)
def create_webhook(request: Request, caller: Admin, body: NewWebhook) -> Response:
    """Tells a URL of everything that happens from now on."""
    service = service_of(request)
    url = allowed_url(body.url, service.settings.webhook_roots, "WINNOW_WEBHOOK_ROOTS")

    def make(webhook_id: str) -> tuple[int, str, CreatedWebhook]:
        made, secret = service.catalog.webhooks.create(caller.tenant, url, body.kinds, webhook_id=webhook_id)
        return 201, f"/v1/webhooks/{made.id}", CreatedWebhook(**made.model_dump(), secret=secret)

    return create_once(request, caller, body, "whk", make, told_once="secret")


@routes.get("", response_model=WebhookList)
def list_webhooks(request: Request, caller: Admin) -> Response:
    """All webhooks of the tenant, oldest first."""
    found = service_of(request).catalog.webhooks.of_tenant(caller.tenant)
    return reply(request, WebhookList(items=tuple(map(_view, found))))


@routes.get("/{webhook_id}", response_model=WebhookView)
def get_webhook(request: Request, caller: Admin, webhook_id: str) -> Response:
    """One webhook."""
    return reply(request, _view(service_of(request).catalog.webhooks.get(caller.tenant, webhook_id)))


@routes.delete("/{webhook_id}", status_code=204)
def delete_webhook(request: Request, caller: Admin, webhook_id: str) -> Response:
    """It is told nothing more; what it was owed is forgotten."""
    webhooks = service_of(request).catalog.webhooks
    unchanged(request, lambda: _view(webhooks.get(caller.tenant, webhook_id)))
    webhooks.delete(caller.tenant, webhook_id)
    return Response(status_code=204)


@routes.get("/{webhook_id}/deliveries", response_model=Deliveries)
def list_deliveries(
    request: Request,
    caller: Admin,
    webhook_id: str,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """What was and is owed, newest first; kept for a week."""
    page = service_of(request).catalog.webhooks.deliveries(caller.tenant, webhook_id, cursor=cursor, limit=limit)
    return reply(request, Deliveries(items=page.items, next_cursor=page.next_cursor))


def _view(webhook: Webhook) -> WebhookView:
    return WebhookView(**webhook.model_dump())
