"""Vectors as whole numbers: what is computed of them is exact, and what brute force finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.duplicates.vectors import CLOSEST, LENGTH, centres, nearest, similar_before, whole_vectors


def families(count: int, width: int, seed: int) -> np.ndarray:
    """float32[count, width]: a few directions, each with copies and noisy copies."""
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((max(count // 6, 1), width))
    noise = rng.standard_normal((count, width)) * rng.choice([0.0, 0.1, 0.3, 1.0], (count, 1))
    return (base[rng.integers(len(base), size=count)] + noise).astype(np.float32)


def slow_pairs(vectors: np.ndarray, apart: np.ndarray, floor: float) -> dict[tuple[int, int], float]:
    """By Python's whole numbers; of each row the closest before it, of equals the first."""
    rows = [[int(number) for number in row] for row in vectors]
    found = {}
    for b, mine in enumerate(rows):
        close = []
        for a in range(b):
            product = sum(x * y for x, y in zip(rows[a], mine, strict=True))
            if product > 0 and apart[a] == apart[b]:
                squares = [float(sum(x * x for x in row)) for row in (rows[a], mine)]
                cosine = np.float32(product / np.sqrt(squares[0] * squares[1]))
                if cosine >= np.float32(floor):
                    close.append((-cosine, a))
        found |= {(a, b): -cosine for cosine, a in sorted(close)[:CLOSEST]}
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 60), st.sampled_from([3, 40]), st.sampled_from([0.5, 0.9, 1.0]))
def test_pairs_are_those_of_brute_force(seed: int, count: int, width: int, floor: float) -> None:
    vectors = whole_vectors(families(count, width, seed)) if count else np.zeros((0, width), np.int16)
    vectors[count // 3 : count // 3 + 2] = 0
    apart = np.random.default_rng(seed).integers(0, 2, count).astype(np.uint64)
    a, b, cosine = similar_before(vectors, apart, floor)
    assert (a < b).all()
    told = {(int(x), int(y)): float(s) for x, y, s in zip(a, b, cosine, strict=True)}
    assert told == {pair: float(s) for pair, s in slow_pairs(vectors, apart, floor).items()}


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = whole_vectors(families(700, 24, 1))
    apart = np.zeros(700, np.uint64)
    whole = similar_before(vectors, apart, 0.6)
    monkeypatch.setattr("curator.duplicates.vectors._BLOCK", 7)
    for mine, theirs in zip(whole, similar_before(vectors, apart, 0.6), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(
        nearest(vectors, vectors[:30]), (vectors.astype(int) @ vectors[:30].astype(int).T).argmax(1)
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 8, 1024, 4096]))
def test_products_of_whole_vectors_are_exact(seed: int, width: int) -> None:
    """Also the worst: two vectors of one direction, whose product is the largest there is."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.standard_normal((6, width)), np.ones((1, width)), 1e-30 * np.ones((1, width))])
    rows = whole_vectors(np.concatenate([rows, rows]))
    exact = rows.astype(np.int64) @ rows.astype(np.int64).T
    assert exact.max() < 2**24
    single = rows.astype(np.float32)
    np.testing.assert_array_equal(single @ single.T, exact)
    np.testing.assert_allclose(np.sqrt(np.diag(exact)), LENGTH, rtol=0.01)


def test_cosines_are_right_to_a_thousandth() -> None:
    for width in (64, 256, 1024):
        rows = families(200, width, 3).astype(np.float64)
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        a, b, cosine = similar_before(whole_vectors(rows), np.zeros(200, np.uint64), 0.5)
        assert len(a) > 100
        np.testing.assert_allclose(cosine, (unit[a] * unit[b]).sum(axis=1), atol=1e-3)


def test_what_has_no_direction_is_like_nothing() -> None:
    rows = np.array([[1, 0], [0, 0], [np.nan, 1], [np.inf, 1], [1, 0], [1, 0]], np.float32)
    whole = whole_vectors(rows, np.array([True] * 5 + [False]))
    assert [row.any() for row in whole] == [True, False, False, False, True, False]
    a, b, cosine = similar_before(whole, np.zeros(6, np.uint64), 0.5)
    assert (a.tolist(), b.tolist(), cosine.tolist()) == ([0], [4], [1.0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_centres_follow_the_sample_whatever_its_layout(seed: int) -> None:
    sample = whole_vectors(families(300, 16, seed))
    found = centres(sample, 12)
    np.testing.assert_array_equal(found, centres(np.asfortranarray(sample), 12))
    assert found.shape == (12, 16)
    of = nearest(sample, found)
    far, close = (
        (sample.astype(int) * found[places].astype(int)).sum()
        for places in (np.random.default_rng(seed).permutation(of), of)
    )
    assert close > far


def test_few_rows_make_few_centres() -> None:
    same = whole_vectors(np.ones((5, 3)))
    assert centres(same, 4).shape == (1, 3)
    assert centres(np.zeros((2, 3), np.int16), 4).shape == (0, 3)


def test_without_centres_all_rows_are_of_one_cluster() -> None:
    """A sample may hold no row with a direction, though others have one."""
    rows = np.ones((3, 4), np.int16)
    assert nearest(rows, np.zeros((0, 4), np.int16)).tolist() == [0, 0, 0]
