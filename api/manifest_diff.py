"""How two manifests differ: shards in one only, and, in shards of both, rows that came alive, died or changed label.

Knows manifests and indexes; opens no row.
"""

from __future__ import annotations

import numpy as np

from api.bodies import View
from curator.shards import Manifest, ShardIndex, ShardReader

__all__ = ["Difference", "difference"]


class Difference(View):
    """Row counts. `added` and `removed` are shards by digest; the others count rows of shards that both list."""

    manifest: str
    base: str
    added_shards: tuple[str, ...]
    removed_shards: tuple[str, ...]
    live_before: dict[str, int]
    live: dict[str, int]
    rows_revived: int
    rows_dropped: int
    rows_regraded: int
    rows_relabeled: int
    recipe_changed: bool
    policy_changed: bool


def difference(reader: ShardReader, base: Manifest, after: Manifest) -> Difference:
    """Raises NotFoundError or IntegrityError when an index cannot be read."""
    old, new = ({info.digest: number for number, info in enumerate(m.shards)} for m in (base, after))
    counts = np.zeros(4, np.int64)
    for digest in old.keys() & new.keys():
        before, now = base.shards[old[digest]], after.shards[new[digest]]
        if before.index != now.index:
            left, right = reader.open(base, old[digest]).index, reader.open(after, new[digest]).index
            counts += _rows(left, right, now.rows)
    revived, dropped, regraded, relabeled = counts.tolist()
    return Difference(
        manifest=after.id,
        base=base.id,
        added_shards=tuple(sorted(new.keys() - old.keys())),
        removed_shards=tuple(sorted(old.keys() - new.keys())),
        live_before=_named(base),
        live=_named(after),
        rows_revived=revived,
        rows_dropped=dropped,
        rows_regraded=regraded,
        rows_relabeled=relabeled,
        recipe_changed=base.recipe_digest != after.recipe_digest,
        policy_changed=base.policy_version != after.policy_version,
    )


def _rows(before: ShardIndex, after: ShardIndex, num_rows: int) -> np.ndarray:
    """int64[4]: revived, dropped, of another difficulty while alive in both, of another label."""
    grade_a, live_a = before.difficulty_of_rows(num_rows)
    grade_b, live_b = after.difficulty_of_rows(num_rows)
    regraded = live_a & live_b & (grade_a != grade_b)
    label_a, label_b = _labels(before), _labels(after)
    relabeled = sum(label_a.get(row) != label_b.get(row) for row in label_a.keys() | label_b.keys())
    return np.array([(live_b & ~live_a).sum(), (live_a & ~live_b).sum(), regraded.sum(), relabeled], np.int64)


def _labels(index: ShardIndex) -> dict[int, object]:
    if index.overlay is None:
        return {}
    return dict(zip(index.overlay.rows.tolist(), index.overlay.labels.to_pylist(), strict=True))


def _named(manifest: Manifest) -> dict[str, int]:
    easy, medium, hard = manifest.live
    return {"easy": easy, "medium": medium, "hard": hard}
