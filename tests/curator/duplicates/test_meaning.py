"""The index of vectors: pairs within clusters, whatever the units and shards, and within bounds of memory."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.duplicates import Edges, clusters
from curator.duplicates.edges import ALMOST_ONE
from curator.duplicates.meaning import MeaningShape, VectorIndex, clusters_for
from curator.duplicates.vectors import centres, nearest, similar_before, whole_vectors
from curator.errors import NotFoundError
from curator.storage import Store
from tests.curator.duplicates.test_vectors import families

FLOOR = 0.6


def index_of(folder: Path, rows: np.ndarray, cuts: list[int], num_clusters: int, first_row: int = 0) -> VectorIndex:
    """Of units that end at the cuts, each fed in two batches."""
    ends = [0, *sorted(cuts), len(rows)]
    shape = MeaningShape(rows=tuple(np.diff(ends).tolist()), clusters=num_clusters, floor=FLOOR)
    index = VectorIndex(Store.open(folder), "meaning", shape, first_row)
    index.begin(rows[:80])
    for unit, (low, high) in enumerate(pairwise(ends)):
        with index.adding(unit) as add:
            for part in (slice(low, (low + high) // 2), slice((low + high) // 2, high)):
                add(rows[part], np.ones(len(rows[part]), bool))
    for shard in range(index.num_shards):
        index.seek(shard)
    index.seal()
    return index


def edges_of(index: VectorIndex, floor: float = FLOOR) -> Edges:
    parts = [index.match(unit, floor) for unit in range(len(index.shape.rows))]
    a, b, similarity = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((b, a))
    return Edges(a[order], b[order], similarity[order])


def same(one: Edges, two: Edges) -> None:
    for mine, theirs in zip(one, two, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def test_one_cluster_is_everything_with_everything(tmp_path: Path) -> None:
    rows = families(150, 12, 4)
    a, b, cosine = similar_before(whole_vectors(rows), np.zeros(150, np.uint64), FLOOR)
    edges = edges_of(index_of(tmp_path, rows, [], 1, first_row=1_000))
    order = np.lexsort((b, a))
    same(edges, Edges(a[order] + 1_000, b[order] + 1_000, np.minimum(cosine[order], ALMOST_ONE)))
    assert len(a) > 100 and edges.similarity.max() == ALMOST_ONE
    close = edges_of(VectorIndex.open(Store.open(tmp_path), "meaning", 1_000), 0.9)
    assert (close.similarity >= 0.9).all() and len(close.a) == (edges.similarity >= np.float32(0.9)).sum()


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 100), st.lists(st.integers(0, 200), max_size=4), st.integers(1, 9), st.sampled_from([40, 1 << 26])
)
def test_neither_units_nor_shards_matter(
    tmp_path_factory: pytest.TempPathFactory, seed: int, cuts: list[int], num_clusters: int, shard_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("meaning")
    rows = families(200, 12, seed)
    rows[::17] = 0
    whole = edges_of(index_of(folder / "whole", rows, [], num_clusters))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curator.duplicates.meaning.SHARD_BYTES", shard_bytes)
        index = index_of(folder / "parts", rows, cuts, num_clusters)
        assert index.num_shards == (num_clusters if shard_bytes == 40 else 1)
        same(whole, edges_of(index))
    numbers = whole_vectors(rows)
    of = nearest(numbers, centres(numbers[:80], num_clusters))
    assert (of[whole.a] == of[whole.b]).all()
    assert not np.isin(np.arange(0, 200, 17), np.concatenate([whole.a, whole.b])).any()


def test_copies_find_each_other_across_clusters_and_are_tied(tmp_path: Path) -> None:
    """A copy lies where its original lies, so of 40 families of copies one row each stays."""
    base = np.random.default_rng(1).standard_normal((40, 32)).astype(np.float32)
    rows = base[np.random.default_rng(2).integers(40, size=600)]
    of, similarity = clusters(600, edges_of(index_of(tmp_path, rows, [100, 450], 8)), 0.95)
    assert (of < 0).sum() == len(np.unique(rows, axis=0)) == 40
    assert (similarity[of >= 0] == ALMOST_ONE).all()


def test_a_crowded_cluster_is_compared_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curator.duplicates.meaning.PIECE_ROWS", 32)
    rows = np.ones((100, 4), np.float32)
    edges = edges_of(index_of(tmp_path, rows, [10, 47], 1))
    assert (edges.a // 32 == edges.b // 32).all()
    of, _ = clusters(100, edges, 0.95)
    assert np.flatnonzero(of < 0).tolist() == [0, 32, 64, 96]


def test_rows_that_are_not_there_are_refused(tmp_path: Path) -> None:
    index = VectorIndex(Store.open(tmp_path), "meaning", MeaningShape(rows=(3,), clusters=2, floor=FLOOR))
    index.begin(np.ones((2, 4)))
    with pytest.raises(ValueError, match="2 vectors were added to unit 0, which has 3 rows"), index.adding(0) as add:
        add(np.ones((2, 4)), np.ones(2, bool))
    with pytest.raises(NotFoundError):
        VectorIndex.open(Store.open(tmp_path), "meaning")


def test_no_rows(tmp_path: Path) -> None:
    nothing = edges_of(index_of(tmp_path, np.zeros((0, 4), np.float32), [], 1))
    assert [part.dtype for part in nothing] == [np.int64, np.int64, np.float32] and len(nothing.a) == 0
    assert len(edges_of(index_of(tmp_path / "zeros", np.zeros((5, 4), np.float32), [2], 1)).a) == 0


def test_clusters_grow_with_the_rows() -> None:
    assert [clusters_for(rows) for rows in (0, 999, 50_000, 10**9)] == [1, 1, 50, 4_096]
