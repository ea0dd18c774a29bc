"""What a stream keeps on local disk: uncompressed copies of shards, and how much may lie there.

Knows folders, limits and manifests' sizes; nothing of plans or order.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from curator.client.cache import require
from curator.client.decoded import DecodedCopies
from curator.client.scratch import Scratch
from curator.client.sources import CachedSource, ShardSource
from curator.errors import RequestError
from curator.shards.manifest import Manifest
from curator.shards.reader import ShardReader

__all__ = ["StreamCache"]


class StreamCache(NamedTuple):
    """folder: for copies, none when None. limit_bytes: the most that may lie there, None for no limit. scratch: for
    record batches that are decoded; each reader's memory when None."""

    folder: str | os.PathLike[str] | None
    limit_bytes: int | None
    scratch: Scratch | None = None

    def manifest(self, source: ShardSource, manifest: str | Manifest) -> Manifest:
        """A manifest each of whose shards fits into the cache. Raises RequestError when one does not, or when the limit
        limits nothing; what the source raises."""
        remote = source if isinstance(source, CachedSource) else None
        if self.limit_bytes is not None and self.folder is None and remote is None:
            raise RequestError(f"cache_limit_bytes {self.limit_bytes} limits nothing: give cache_dir too")
        found = source.manifest(manifest) if isinstance(manifest, str) else manifest
        require(self.limit_bytes, max((info.bytes for info in found.shards), default=0))
        return found if remote is None else remote.fits(found)

    def reader(
        self, source: ShardSource, columns: Sequence[str] | None = None, turn: tuple[int, int] = (0, 1)
    ) -> ShardReader:
        """columns, turn: as a ShardReader's; what lies in the folder is whole, for all."""
        if self.scratch is not None:
            self.scratch.passes_on = turn[1] > 1
        copies = None if self.folder is None else DecodedCopies(self.folder, limit_bytes=self.limit_bytes)
        return ShardReader(
            source,
            copies=copies,
            decoded=self.scratch,
            turn=turn,
            columns=columns if copies is None else None,
        )

    def anew(self) -> StreamCache:
        """The same with an empty scratch: what one keeps it keeps for good."""
        return self if self.scratch is None else self._replace(scratch=Scratch.of_size(self.scratch.max_bytes))
