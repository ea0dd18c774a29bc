"""Clusters: one row of each stays, every other names it, and the same pairs in any order give the same answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.duplicates import Edges, clusters

PAIRS = st.lists(
    st.tuples(st.integers(0, 19), st.integers(0, 19), st.sampled_from([0.5, 0.7, 0.8, 0.9, 1.0])).filter(
        lambda p: p[0] < p[1]
    ),
    max_size=30,
    unique_by=lambda pair: pair[:2],
)


def edges_of(pairs: list[tuple[int, int, float]]) -> Edges:
    a, b, similarity = zip(*pairs, strict=True) if pairs else ((), (), ())
    return Edges(np.array(a, np.int64), np.array(b, np.int64), np.array(similarity, np.float32))


def slow(pairs: list[tuple[int, int, float]], threshold: float, weights: list[int] | None) -> list[int]:
    """Clusters by flooding."""
    neighbours: dict[int, set[int]] = {row: set() for row in range(20)}
    for a, b, similarity in pairs:
        if np.float32(similarity) >= np.float32(threshold):
            neighbours[a].add(b)
            neighbours[b].add(a)
    of = [-1] * 20
    for row in range(20):
        reached, fresh = {row}, [row]
        while fresh:
            new = neighbours[fresh.pop()] - reached
            reached |= new
            fresh += new
        kept = min(reached, key=lambda member: (-weights[member] if weights else 0, member))
        of[row] = kept if kept != row else -1
    return of


@settings(max_examples=200, deadline=None)
@given(PAIRS, st.randoms(use_true_random=False), st.sampled_from([0.6, 0.8, 1.0]), st.booleans())
def test_agrees_with_flooding_in_any_order(pairs, shuffler, threshold: float, weighed: bool) -> None:  # type: ignore[no-untyped-def]
    weights = [shuffler.randrange(3) for _ in range(20)] if weighed else None
    array = None if weights is None else np.array(weights)
    of, similarity = clusters(20, edges_of(pairs), threshold, weights=array)
    assert of.tolist() == slow(pairs, threshold, weights)
    assert (np.isnan(similarity) == (of < 0)).all()
    assert (similarity[of >= 0] >= np.float32(threshold)).all()
    shuffler.shuffle(pairs)
    again, same = clusters(20, edges_of(pairs), threshold, weights=array)
    np.testing.assert_array_equal(again, of)
    np.testing.assert_array_equal(same, similarity)


def test_similarity_is_to_the_kept_row_or_to_the_closest_link() -> None:
    edges = edges_of([(0, 1, 0.9), (1, 2, 0.95), (0, 3, 0.85), (2, 3, 0.99)])
    of, similarity = clusters(5, edges, 0.8)
    assert of.tolist() == [-1, 0, 0, 0, -1]
    assert similarity[1:4].tolist() == pytest.approx([0.9, 0.99, 0.85])


def test_no_rows() -> None:
    of, similarity = clusters(0, edges_of([]), 0.8)
    assert len(of) == len(similarity) == 0
