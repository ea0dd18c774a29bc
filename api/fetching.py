"""Datasets that lie behind an https address: fetched once into the tenant's uploads, with what tells a later change.

Runs read the copy, so that what they read is what was validated. Knows HTTP and uploads; who may be asked is
`curator/outbound.py`'s to say, what the bytes are worth `inspection.py`'s.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx

from api.deadline import Deadline
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

    def __init__(self, catalog: Catalog, uploads: UploadFiles, settings: Settings):
        self._catalog, self._uploads, self._settings = catalog, uploads, settings
        self._ending = threading.Event()
        self._lock, self._deadlines = threading.Lock(), set[Deadline]()
        self._looks = Places(LOOKS_AT_ONCE, "too_many_checks", "a look at an origin")

    def fetched(self, tenant: str, version: DatasetVersion) -> DatasetVersion:
        """The version with its bytes here. Raises InputError or RequestError for what cannot be had, or not in time,
        and RetryableError when the server ends meanwhile."""
        [url] = version.inputs
        fault: Exception | None = None
        with self._within(self._settings.fetch_s) as deadline:
            for attempt in range(TRIES):
                try:
                    return self._once(tenant, version, url, deadline)
                except (httpx.HTTPError, httpx.InvalidURL, TransportError) as error:
                    fault = error
                if attempt + 1 < TRIES:
                    self._ending.wait(2.0**attempt)
                self._require_time(deadline, url)
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
                self._within(SILENCE_S) as deadline,
                self._asked(str(origin["url"]), {"Range": "bytes=0-0"}, deadline, good=(200, 206)) as answer,
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
        with self._lock:
            for deadline in self._deadlines:
                deadline.end()

    @contextmanager
    def _within(self, most_s: float) -> Iterator[Deadline]:
        """Whatever is asked inside has so many seconds in all, and ends with the server."""
        with Deadline(most_s) as deadline:
            with self._lock:
                self._deadlines.add(deadline)
            if self._ending.is_set():
                deadline.end()
            try:
                yield deadline
            finally:
                with self._lock:
                    self._deadlines.discard(deadline)

    def _require_time(self, deadline: Deadline, url: str) -> None:
        """Raises RetryableError if the server ends, RequestError if it has taken too long."""
        if self._ending.is_set():
            raise RetryableError("the server ended while it was fetched; it will be tried again")
        if deadline.over:
            most_s = self._settings.fetch_s
            raise RequestError(f"{url} took longer than {most_s:g} s (WINNOW_FETCH_S); nothing was kept")

    def _once(self, tenant: str, version: DatasetVersion, url: str, deadline: Deadline) -> DatasetVersion:
        with self._asked(url, {}, deadline) as answer:
            chunks = self._chunks(answer, url, deadline)
            upload = self._uploads.keep(tenant, name_of(url), chunks)
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
    def _asked(
        self, url: str, headers: dict[str, str], deadline: Deadline, good: Sequence[int] = (200,)
    ) -> Iterator[httpx.Response]:
        """A good answer. Raises InputError for one that will not get better, TransportError for one that may."""
        watched = {"trace": deadline.trace}
        roots = [root for root in self._settings.input_roots if is_web(root)]
        with (
            httpx.Client(timeout=SILENCE_S, trust_env=False) as client,
            followed(client, url, roots, ROOTS, headers={**_HEADERS, **headers}, extensions=watched) as answer,
        ):
            status = answer.status_code
            if status == 429 or status >= 500:
                raise TransportError(f"HTTP {status}")
            if status not in good:
                raise InputError(f"{url} answered HTTP {status}; nothing was kept")
            yield answer

    def _chunks(self, answer: httpx.Response, url: str, deadline: Deadline) -> Iterator[bytes]:
        """The bytes as they are stored there. Raises RequestError when they take too long."""
        for chunk in answer.iter_raw():
            self._require_time(deadline, url)
            yield chunk
        self._require_time(deadline, url)  # what was hung up on may look whole
