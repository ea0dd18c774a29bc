"""Compaction: neighbouring small shards written again as larger ones, under a child manifest.

Knows shards, indexes and manifests; not who asks for it or when. Rows keep their order, their labels, their overlay,
their difficulty and whether they live, so what is read from the child is what is read from the parent. Rows that do not
live are kept too: they can still be revived. The parent and its shards stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from curator.difficulty import UNKNOWN
from curator.errors import RequestError
from curator.shards.index import Overlay, ShardIndex
from curator.shards.layout import SAMPLE_ID
from curator.shards.manifest import Manifest, ShardInfo
from curator.shards.open_shard import OpenShard
from curator.shards.reader import ShardReader
from curator.shards.writer import TARGET_BYTES, ShardWriter
from curator.storage import Store

__all__ = ["compact", "merging"]


def compact(
    manifest: Manifest,
    store: Store,
    *,
    small_bytes: int | None = None,
    target_bytes: int = TARGET_BYTES,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> Manifest:
    """A saved child with small shards merged; the manifest itself when there is nothing to merge.

    small_bytes: shards below it are merged with their neighbours below it; half of target_bytes when None. Holds one
    new shard's compressed bytes in memory, and its rows' ids. Equal manifests give equal children. on_rows: told after
    each group how many rows are done; what it raises ends the work. Raises what reading
    and writing raise, RequestError on sizes that are none.
    """
    small = target_bytes // 2 if small_bytes is None else small_bytes
    if not 0 < small <= target_bytes:
        raise RequestError(f"small_bytes {small} is not within 1 to target_bytes {target_bytes}")
    groups = list(merging(manifest, small, target_bytes))
    if all(len(group) == 1 for group in groups):
        return manifest
    reader = ShardReader(store, num_threads=1, cache_bytes=0)
    shards: list[ShardInfo] = []
    rows = 0
    for group in groups:
        if len(group) == 1:
            shards.append(manifest.shards[group[0]])
        else:
            shards += _merged([reader.open(manifest, number) for number in group], store, target_bytes)
        rows += sum(manifest.shards[number].rows for number in group)
        on_rows(rows)
    child = manifest.model_copy(update={"shards": tuple(shards), "parent": manifest.id, "created": None, "run": None})
    child.save(store)
    return child


def merging(manifest: Manifest, small_bytes: int, target_bytes: int) -> Iterator[list[int]]:
    """All shard numbers in order, those to merge in one list: neighbours below small_bytes, of one kind (kept or
    quarantined, rows of a record batch), together at most target_bytes."""
    group: list[int] = []
    held = 0
    for number, info in enumerate(manifest.shards):
        last = manifest.shards[group[-1]] if group else None
        joins = (
            last is not None
            and max(info.bytes, last.bytes) < small_bytes
            and (info.quarantine, info.batch_rows) == (last.quarantine, last.batch_rows)
            and held + info.bytes <= target_bytes
        )
        if group and not joins:
            yield group
            group, held = [], 0
        group.append(number)
        held += info.bytes
    if group:
        yield group


def _merged(shards: list[OpenShard], store: Store, target_bytes: int) -> list[ShardInfo]:
    """The rows of some shards in new ones, each with its index."""
    first = shards[0].info
    writer = ShardWriter(
        store,
        shards[0].schema,
        target_bytes=target_bytes,
        quarantine=first.quarantine,
        batch_rows=first.batch_rows,
    )
    ids = []
    for shard in shards:
        for number in range(shard.info.num_batches):
            rows = shard.stored(number, shard.schema.names)
            ids.append(rows.column(rows.schema.get_field_index(SAMPLE_ID)))
            writer.write(rows)
    difficulty, live = (
        np.concatenate(parts)
        for parts in zip(*(shard.index.difficulty_of_rows(shard.info.rows) for shard in shards), strict=True)
    )
    overlay, all_ids = _overlay(shards), pa.concat_arrays(ids)
    done, begin = [], 0
    for info in writer.close():
        part = slice(begin, begin + info.rows)
        done.append(_indexed(info, difficulty[part], live[part], all_ids[part], _part(overlay, part), store))
        begin += info.rows
    return done


def _indexed(
    info: ShardInfo, difficulty: np.ndarray, live: np.ndarray, ids: pa.Array, overlay: Overlay | None, store: Store
) -> ShardInfo:
    """The shard under its index; without one when no row ever lived."""
    if overlay is None and (difficulty == UNKNOWN).all():
        return info
    index = ShardIndex.build(difficulty, live, ids, overlay)
    return info.with_index(index.save(store), index.live_counts, 0 if overlay is None else len(overlay.labels))


def _overlay(shards: list[OpenShard]) -> Overlay | None:
    """The shards' overlays with rows counted from the first one's start: uint32 would not hold them, int64 does."""
    rows, labels, begin = [], [], 0
    for shard in shards:
        if shard.index.overlay is not None:
            rows.append(shard.index.overlay.rows.astype(np.int64) + begin)
            labels.append(shard.index.overlay.labels)
        begin += shard.info.rows
    return Overlay(np.concatenate(rows), pa.concat_arrays(labels)) if rows else None


def _part(overlay: Overlay | None, part: slice) -> Overlay | None:
    if overlay is None:
        return None
    low, high = np.searchsorted(overlay.rows, [part.start, part.stop])
    if low == high:
        return None
    return Overlay((overlay.rows[low:high] - part.start).astype(np.uint32), overlay.labels[int(low) : int(high)])
