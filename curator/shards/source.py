"""Where a reader gets bytes: manifests, shards and indexes by their ids.

The protocol, and the one for files under a root. Knows nothing of what the bytes mean beyond their digests.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from curator.errors import IntegrityError, NotFoundError
from curator.shards.layout import index_name, shard_name
from curator.shards.manifest import Manifest
from curator.shards.named import manifest_named
from curator.storage import Store

__all__ = ["ShardSource", "StoreSource"]


@runtime_checkable
class ShardSource(Protocol):
    """Serves the immutable parts of a dataset; may be called from several threads."""

    def manifest(self, manifest_id: str) -> Manifest:
        """By its id, or by an alias: the one it points at now. Raises NotFoundError, IntegrityError."""

    def shard(self, digest: str) -> Any:
        """The whole shard as a `pyarrow.Buffer`, mapped where it can be. Raises NotFoundError, RetryableError."""

    def index(self, digest: str) -> Any:
        """The whole index as a `pyarrow.Buffer`. Raises NotFoundError, RetryableError."""

    def discard(self, digest: str) -> bool:
        """Forgets a bad copy; True when the next call fetches a fresh one, False when this is the only copy."""


class StoreSource:
    """The parts that lie under a root: memory-mapped when it is a local directory, else read whole into memory.

    For an object store, wrap it in a cache (`curator.client.sources.open_source` does).
    """

    def __init__(self, root: str | Store):
        self.store = root if isinstance(root, Store) else Store.open(root)

    def manifest(self, manifest_id: str) -> Manifest:
        return Manifest.load(self.store, manifest_named(self.store, manifest_id))

    def shard(self, digest: str) -> Any:
        return self._buffer(shard_name(digest), f"shard {digest}")

    def index(self, digest: str) -> Any:
        return self._buffer(index_name(digest), f"index {digest}")

    def discard(self, digest: str) -> bool:
        return False  # a root holds the only copy, which is never deleted

    def _buffer(self, name: str, what: str) -> Any:
        try:
            with self.store.open_input(name) as source:
                return source.read_buffer()
        except NotFoundError as error:
            raise NotFoundError(
                f"{what} is listed in a manifest but missing from {self.store.uri}; restore it"
            ) from error
        except OSError as error:
            raise IntegrityError(f"{what} in {self.store.uri} cannot be read: {error}") from error
