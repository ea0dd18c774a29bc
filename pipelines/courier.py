"""Delivering webhooks: what the catalog owes is signed and sent, and how it went is written down.

Knows HTTP and the catalog's webhooks; nothing of runs. A thread beside the runner's work, so that a run of hours holds
up no message. Signatures are those of standardwebhooks.com: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final

import httpx

from curator.catalog import Catalog, DueDelivery
from curator.errors import RequestError, RetryableError, WinnowError
from curator.outbound import sent
from curator.sealing import Seal
from curator.settings import Settings
from curator.tracing import Attributes, span

__all__ = ["Courier", "signature"]

log: Final = logging.getLogger(__name__)
ROOTS: Final = "WINNOW_WEBHOOK_ROOTS"
TIMEOUT_S: Final = 10.0
_AT_ONCE: Final = 4


class Courier:
    """Delivers while its context is open."""

    def __init__(self, catalog: Catalog, settings: Settings):
        self._catalog, self._settings = catalog, settings
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="courier", daemon=True)

    def __enter__(self) -> Courier:
        if self._settings.webhook_roots:  # otherwise there is nobody it may call
            self._catalog.webhooks.sealed_with(Seal.of(self._settings))
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(timeout=TIMEOUT_S + 1)

    def _work(self) -> None:
        while not self._ending.is_set():
            try:
                busy = self.deliver_once()
            except WinnowError as error:
                log.warning("the catalog is out of reach, asking again: %s", error)
                busy = 0
            if not busy:
                self._ending.wait(self._settings.poll_s)

    def deliver_once(self) -> int:
        """Sends what is due now; says how many were tried. Raises RetryableError."""
        self._catalog.webhooks.owe()
        due = self._catalog.webhooks.due()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self._try, due))
        return len(due)

    def _try(self, delivery: DueDelivery) -> None:
        subject = str(delivery.body["data"]["subject"])
        about: Attributes = {"winnow.delivery": delivery.id, "winnow.attempt": delivery.attempts}
        about = {**about, "winnow.subject": subject}
        with span("deliver", about, kind="client") as told:
            status, error = send(delivery, self._settings.webhook_roots)
            told.tell({"http.response.status_code": status}, failed=error is not None)
        state = self._catalog.webhooks.settle(delivery, status=status, error=error)
        log.info("delivery %s: attempt %d, %s", delivery.id, delivery.attempts, error or state)


def send(delivery: DueDelivery, roots: tuple[str, ...]) -> tuple[int | None, str | None]:
    """(the receiver's status, what went wrong). Anything but 2xx is an error; redirects are not followed, the body of
    the answer is not read."""
    body = json.dumps({**delivery.body, "id": delivery.id}, ensure_ascii=False, separators=(",", ":")).encode()
    try:
        headers = {"Content-Type": "application/json", "User-Agent": "Winnow-Webhooks"}
        headers |= signature(delivery.secret, delivery.id, int(time.time()), body)
        with (
            httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client,
            sent(client, "POST", delivery.url, roots, ROOTS, content=body, headers=headers) as answer,
        ):
            status = answer.status_code
    except (RequestError, RetryableError) as error:
        return None, str(error)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return None, f"no answer: {type(error).__name__}"
    return status, None if 200 <= status < 300 else f"HTTP {status}"


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers by which a receiver knows that the message is ours, whole and recent."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }
