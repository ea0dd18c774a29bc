"""Datasets that lie behind an https address: fetched once into the tenant's uploads, with what tells a later change.

Runs read the copy, so that what they read is what was validated. Knows HTTP and uploads; who may be asked is
`curator/outbound.py`'s to say, what the bytes are worth `inspection.py`'s.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx

from api.allowances import Allowances
from api.limits import Places
from api.upload_files import UploadFiles
from curator.catalog import Catalog, DatasetVersion
from curator.errors import InputError, RequestError, RetryableError, TransportError
from curator.outbound import followed
from curator.settings import Settings

__all__ = ["Fetcher", "is_web", "name_of"]

ROOTS: Final = "WINNOW_INPUT_ROOTS"
TRIES: Final = 3
LOOKS_AT_ONCE: Final = 4
SILENCE_S: Final = 10.0
"""How long the other side may send nothing; also how long a server that ends may wait for it."""
_HEADERS: Final = {"User-Agent": "Winnow", "Accept-Encoding": "identity"}


def is_web(uri: str) -> bool:
    return uri.startswith(("https://", "http://"))


def name_of(url: str) -> str:
    """What the file is called: the last part of the URL's path."""
    return unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])


class Fetcher:
    """Threads share it."""

    def __init__(self, catalog: Catalog, uploads: UploadFiles, allowances: Allowances, settings: Settings):
        self._catalog, self._uploads, self._allowances, self._settings = catalog, uploads, allowances, settings
        self._ending = threading.Event()
        self._looks = Places(LOOKS_AT_ONCE, "too_many_checks", "a look at an origin")

    def fetched(self, tenant: str, version: DatasetVersion) -> DatasetVersion:
        """The version with its bytes here. Raises InputError or RequestError for what cannot be had, and
        RetryableError when the server ends meanwhile."""
        [url] = version.inputs
        fault: Exception | None = None
        for attempt in range(TRIES):
            try:
                return self._once(tenant, version, url)
            except (httpx.HTTPError, httpx.InvalidURL, TransportError) as error:
                fault = error
            if attempt + 1 < TRIES and self._ending.wait(2.0**attempt):
                raise RetryableError("the server ended while it was fetched; it will be tried again")
        words = str(fault) if isinstance(fault, TransportError) else type(fault).__name__
        raise InputError(f"{url} could not be fetched in {TRIES} tries ({words}); register it again when it can be")

    def changed(self, tenant: str, version: DatasetVersion) -> tuple[bool | None, str | None, str | None]:
        """Whether the place holds something else now (None: it does not tell), and its ETag and Last-Modified now.
        Raises InputError when it does not answer, RequestError when it may not be asked any more, Refusal 429 when
        others are asking."""
        origin = version.origin or {}
        try:
            with (
                self._looks.one(tenant),
                self._asked(str(origin["url"]), {"Range": "bytes=0-0"}, good=(200, 206)) as answer,
            ):
                now = answer.headers.get("etag"), answer.headers.get("last-modified")
        except (httpx.HTTPError, httpx.InvalidURL, TransportError) as error:
            raise InputError(f"{origin['url']} does not answer ({type(error).__name__})") from error
        told = [(origin.get("etag"), now[0]), (origin.get("last_modified"), now[1])]
        known = next((then != new for then, new in told if then is not None and new is not None), None)
        return known, *now

    def close(self) -> None:
        """Ends what is under way."""
        self._ending.set()

    def _once(self, tenant: str, version: DatasetVersion, url: str) -> DatasetVersion:
        with self._asked(url, {}) as answer:
            upload = self._uploads.keep(tenant, name_of(url), self._chunks(answer, url), self._allowances)
            told = {"etag": answer.headers.get("etag"), "last_modified": answer.headers.get("last-modified")}
        origin = {"url": url, **told, "sha256": upload.sha256, "bytes": upload.size_bytes}
        origin["fetched_at"] = upload.updated_at.isoformat()
        try:
            place = self._uploads.path(tenant, upload.id)
            return self._catalog.datasets.fetched(tenant, version.dataset, version.number, [place], origin)
        except BaseException:  # the dataset, or its tenant, was deleted meanwhile
            self._uploads.discard(tenant, upload.id)
            raise

    @contextmanager
    def _asked(self, url: str, headers: dict[str, str], good: Sequence[int] = (200,)) -> Iterator[httpx.Response]:
        """A good answer. Raises InputError for one that will not get better, TransportError for one that may."""
        roots = [root for root in self._settings.input_roots if is_web(root)]
        with (
            httpx.Client(timeout=SILENCE_S, trust_env=False) as client,
            followed(client, url, roots, ROOTS, headers={**_HEADERS, **headers}) as answer,
        ):
            status = answer.status_code
            if status == 429 or status >= 500:
                raise TransportError(f"HTTP {status}")
            if status not in good:
                raise InputError(f"{url} answered HTTP {status}; nothing was kept")
            yield answer

    def _chunks(self, answer: httpx.Response, url: str) -> Iterator[bytes]:
        """The bytes as they are stored there. Raises RequestError when they take too long."""
        most_s = self._settings.fetch_s
        deadline = time.monotonic() + most_s
        for chunk in answer.iter_raw():
            if self._ending.is_set():
                raise RetryableError("the server ended while it was fetched; it will be tried again")
            if time.monotonic() > deadline:
                raise RequestError(f"{url} took longer than {most_s:g} s (WINNOW_FETCH_S); nothing was kept")
            yield chunk
