"""Where a client gets shards: a root directory, an object store, or a server.

Transport only; the bytes' meaning is `curator.shards`'.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from curator.client.arriving import Arriving
from curator.client.cache import FileCache
from curator.client.line import Line
from curator.digest import sha256_hex
from curator.errors import IntegrityError, RequestError, RetryableError, TransportError, UnreachableError, WinnowError
from curator.shards.layout import index_name, shard_name
from curator.shards.manifest import Manifest
from curator.shards.named import manifest_named
from curator.shards.source import ShardSource, StoreSource
from curator.storage import Store

__all__ = ["CachedSource", "HttpSource", "RemoteStoreSource", "ShardSource", "StoreSource", "open_source"]


def open_source(
    source: Any, cache_dir: str | os.PathLike[str] | None = None, cache_limit_bytes: int | None = None
) -> ShardSource:
    """A source from a root path or object-store URL, a Store, a source, or anything with `.shard_source()`.

    cache_dir: where copies of remote files go; the user's cache folder when None. cache_limit_bytes: the most it may
    hold, None for no limit. A source keeps its own. Raises RequestError.
    """
    if hasattr(source, "shard_source"):
        options = {"cache_dir": cache_dir, "cache_limit_bytes": cache_limit_bytes}
        return _checked(source.shard_source(**{name: value for name, value in options.items() if value is not None}))
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        if text.startswith(("http://", "https://")):
            raise RequestError(f"{text} is a server: give Client({text!r}, api_key=…) or HttpSource instead")
        source = Store.open(text)
    if isinstance(source, Store):
        return (
            StoreSource(source)
            if source.is_local
            else RemoteStoreSource(source, cache_dir, cache_limit_bytes=cache_limit_bytes)
        )
    return _checked(source)


def _checked(source: Any) -> ShardSource:
    if not isinstance(source, ShardSource):
        raise RequestError(f"cannot pull shards from a {type(source).__name__}; give a root, a Store or a Client")
    return source


class CachedSource:
    """Shards and indexes through a cache of files; `_copy` brings one from its origin."""

    def __init__(self, cache_dir: str | os.PathLike[str] | None, cache_limit_bytes: int | None):
        self._cache = FileCache(cache_dir, limit_bytes=cache_limit_bytes)

    def shard(self, digest: str) -> Any:
        return self._cache.get(shard_name(digest), digest, lambda file: self._copy("shards", digest, file))

    def index(self, digest: str) -> Any:
        return self._cache.get(index_name(digest), digest, lambda file: self._copy("indexes", digest, file))

    def discard(self, digest: str) -> bool:
        self._cache.discard(shard_name(digest))
        self._cache.discard(index_name(digest))
        return True

    def fits(self, manifest: Manifest) -> Manifest:
        """The manifest. Raises RequestError when a shard of it is larger than the cache may be."""
        self._cache.require(max((info.bytes for info in manifest.shards), default=0))
        return manifest

    def _copy(self, kind: str, digest: str, file: Arriving) -> None:
        raise NotImplementedError


class RemoteStoreSource(CachedSource):
    """The parts under an object-store root, copied to a local cache as they are needed."""

    def __init__(
        self,
        root: str | Store,
        cache_dir: str | os.PathLike[str] | None = None,
        *,
        cache_limit_bytes: int | None = None,
    ):
        super().__init__(cache_dir, cache_limit_bytes)
        self.store = root if isinstance(root, Store) else Store.open(root)

    def manifest(self, manifest_id: str) -> Manifest:
        """By its id, or by an alias. Raises NotFoundError, IntegrityError, and RequestError when a shard is larger than
        the cache may be."""
        return self.fits(Manifest.load(self.store, manifest_named(self.store, manifest_id)))

    def _copy(self, kind: str, digest: str, file: Arriving) -> None:
        name = shard_name(digest) if kind == "shards" else index_name(digest)
        with self.store.open_input(name) as origin:
            while piece := origin.read(1 << 20):
                file.write(piece)


class HttpSource(CachedSource):
    """A Winnow server, with bearer authentication, retries and a local cache.

    base_url: as given to `Client`, without `/v1`. cache_dir: None for the user's cache folder. retries: tries after
    the first, each waiting twice as long as the one before, from backoff_s on, or as long as the server asks.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        *,
        cache_limit_bytes: int | None = None,
        timeout_s: float = 60.0,
        retries: int = 5,
        backoff_s: float = 0.2,
        transport: Any = None,
    ):
        super().__init__(cache_dir, cache_limit_bytes)
        self.base_url = base_url.rstrip("/")
        self._api_key, self._timeout_s = api_key, timeout_s
        self._retries, self._backoff_s, self._transport = retries, backoff_s, transport
        self._client: tuple[int, Any] | None = None
        self._line = None if transport is not None else Line.to(self.base_url, timeout_s)
        self._answered = False

    def manifest(self, manifest_id: str) -> Manifest:
        """By its id, or by an alias: the one it points at now. Raises NotFoundError, IntegrityError, TransportError,
        and RequestError when a shard is larger than the cache may be."""
        text, place = self._retrying(lambda: self._get_whole(f"/v1/manifests/{manifest_id}"))
        found = manifest_id if manifest_id.startswith("man_") else place.rpartition("/")[2]
        return self.fits(Manifest.parse(text, found))

    def projection(self, digest: str, columns: Sequence[str]) -> Any:
        """A shard with some of its columns, in its record batches; None when the whole shard is here already.

        The server names the SHA-256 of what it sends in the ETag; the file is kept under that name and checked whenever
        it is opened, and the server checks the shard itself before it leaves columns out. Raises as `shard`, and
        RequestError for a column it does not have.
        """
        if self._cache.has(shard_name(digest)):
            return None
        path = f"/v1/shards/{digest}?columns={quote(','.join(sorted(set(columns))))}"
        told = self._retrying(lambda: self._etag(path))
        name = f"projections/{told[:2]}/{told}.arrow"
        for _ in range(2):
            data = self._cache.get(name, told, lambda file: self._bring(path, file))
            if sha256_hex(memoryview(data)) == told:
                return data
            self._cache.discard(name)
        raise IntegrityError(f"columns {list(columns)} of shard {digest} proved damaged twice in {self._cache.root}")

    def pack(self, plan: str, epoch: int) -> tuple[bytes, str]:
        """The record of a packed epoch, and where it lies. Raises NotFoundError, TransportError."""
        path = f"/v1/epoch-plans/{plan}/epochs/{epoch}/pack"
        text, _ = self._retrying(lambda: self._get_whole(path))
        return text, f"{self.base_url}{path}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_client": None}

    def _copy(self, kind: str, digest: str, file: Arriving) -> None:
        self._bring(f"/v1/{kind}/{digest}", file)

    def _bring(self, path: str, file: Arriving) -> None:
        file.restart()
        self._retrying(lambda: self._download(path, file))

    def _etag(self, path: str) -> str:
        response = self._http().head(path)
        _raise_for(response)
        return str(response.headers["ETag"]).strip('"')

    def _get_whole(self, path: str) -> tuple[bytes, str]:
        """The bytes, and where they lie under a name that does not move (Content-Location)."""
        response = self._http().get(path)
        _raise_for(response)
        return bytes(response.content), response.headers.get("Content-Location", path)

    def _download(self, path: str, file: Arriving) -> None:
        """Appends what is still missing; goes on where a broken transfer stopped when the server can. Where it points
        to an object store the bytes come from there; httpx shows a key to nobody but the server it was given for."""
        have = file.tell()
        headers = {"Range": f"bytes={have}-"} if have else {}
        if self._line is not None and self._line.fetch(path, {**self._shown, **headers}, file):
            return
        with self._http().stream("GET", path, headers=headers, follow_redirects=True) as response:
            if response.status_code not in (200, 206):
                response.read()
                if response.status_code == 416:  # everything was there already
                    return
                _raise_for(response)
            if response.status_code == 200 and have:
                file.restart()
            for piece in response.iter_bytes():
                file.write(piece)

    def _retrying(self, call: Callable[[], Any]) -> Any:
        import httpx

        from curator.client.wire import unreachable

        for attempt in range(self._retries + 1):
            wait_s = self._backoff_s * 2**attempt
            try:
                found = call()
                self._answered = True
                return found
            except _AskedToWait as error:
                problem: WinnowError = error
                wait_s = max(wait_s, error.wait_s)
            except RetryableError as error:
                problem = error
            except httpx.ConnectError as error:
                problem = unreachable(self.base_url, error)
            except httpx.TransportError as error:
                problem = TransportError(f"{self.base_url} did not answer: {type(error).__name__}: {error}")
            if attempt < self._retries:
                time.sleep(wait_s)
        if isinstance(problem, UnreachableError) and not self._answered:
            raise problem
        raise TransportError(f"gave up after {self._retries + 1} tries; {problem}") from problem

    @property
    def _shown(self) -> dict[str, str]:
        """Headers of every request: shards are compressed, and ranges count stored bytes."""
        key = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
        return {"Accept-Encoding": "identity", **key}

    def _http(self) -> Any:
        """One connection pool a process: a forked worker must not share its parent's sockets."""
        import httpx

        if self._client is None or self._client[0] != os.getpid():
            client = httpx.Client(
                base_url=self.base_url, headers=self._shown, timeout=self._timeout_s, transport=self._transport
            )
            weakref.finalize(self, client.close)  # a stream is rarely closed by hand; its sockets go with it
            self._client = (os.getpid(), client)
        return self._client[1]


class _AskedToWait(TransportError):
    """The server answered 429 or 503 and named a time."""

    def __init__(self, message: str, wait_s: float):
        super().__init__(message)
        self.wait_s = wait_s


def _raise_for(response: Any) -> None:
    """The error a status stands for; nothing for success."""
    from curator.client.problems import raise_for

    status = response.status_code
    if status in (408, 425, 429) or status >= 500:
        words = f"{response.request.method} {response.request.url} answered {status}: {response.text[:200]}"
        raise _AskedToWait(words, _seconds(response.headers.get("Retry-After")))
    raise_for(response)


def _seconds(value: str | None) -> float:
    return float(value) if value is not None and value.isdigit() else 0.0
