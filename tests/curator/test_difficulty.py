"""Exact thirds, all at once and unit by unit."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.difficulty import EASY, HARD, MEDIUM, TercileCuts, sample_id_bytes, terciles


def ids(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 16), dtype=np.uint8)


def slow_terciles(scores: np.ndarray, sample_ids: np.ndarray) -> list[int]:
    rows = sorted(
        range(len(scores)),
        key=lambda i: (
            np.isnan(scores[i]),
            np.nan_to_num(scores[i], nan=0.0, posinf=np.inf, neginf=-np.inf),
            sample_ids[i].tobytes(),
        ),
    )
    out = [0] * len(rows)
    q, r = divmod(len(rows), 3)
    for place, i in enumerate(rows):
        out[i] = EASY if place < q + (r > 0) else MEDIUM if place < 2 * q + (r > 0) + (r > 1) else HARD
    return out


SCORES = st.lists(
    st.one_of(
        st.floats(width=32, allow_nan=False),
        st.sampled_from([0.0, -0.0, 1.0, float("nan"), float("inf"), -float("inf")]),
    ),
    max_size=40,
)


@given(SCORES, st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_equals_sorting_in_python(values, seed):
    scores, sample_ids = np.array(values, dtype=np.float32), ids(len(values), seed)
    assert terciles(scores, sample_ids).tolist() == slow_terciles(scores, sample_ids)


@given(SCORES, st.integers(1, 7), st.sampled_from([0, 1, 3, 1000]))
@settings(max_examples=150, deadline=None)
def test_unit_by_unit_equals_all_at_once(values, unit, max_held):
    scores, sample_ids = np.array(values, dtype=np.float32), ids(len(values))
    units = [(scores[i : i + unit], sample_ids[i : i + unit]) for i in range(0, len(scores), unit)]
    cuts = TercileCuts.find(lambda: units, max_held=max_held)
    found = [code for part in units for code in cuts.classify(*part).tolist()]
    assert found == terciles(scores, sample_ids).tolist()


def test_all_scores_equal_are_split_by_sample_id():
    sample_ids = ids(10_000)
    sample_ids[:, :14] = 7  # ids that share their first fourteen bytes: the last digit decides
    sample_ids[:, 14:] = np.arange(10_000).astype(">u2").view(np.uint8).reshape(-1, 2)
    scores = np.zeros(10_000, dtype=np.float32)
    cuts = TercileCuts.find(lambda: [(scores, sample_ids)], max_held=10)
    codes = cuts.classify(scores, sample_ids)
    assert np.bincount(codes).tolist() == [3334, 3333, 3333]
    assert (np.diff(codes.astype(int)) >= 0).all()
    assert np.array_equal(codes, terciles(scores, sample_ids))


def test_nan_is_hardest():
    scores = np.array([np.nan, 1, 2, 3, np.inf, -1], dtype=np.float32)
    assert terciles(scores, ids(6)).tolist() == [HARD, EASY, MEDIUM, MEDIUM, HARD, EASY]


def test_arrow_ids_with_an_offset():
    raw = ids(9)
    array = pa.array([row.tobytes() for row in raw], type=pa.binary(16))
    assert np.array_equal(sample_id_bytes(array.slice(2, 5)), raw[2:7])
    assert np.array_equal(sample_id_bytes(pa.chunked_array([array[:4], array[4:]])), raw)


def test_what_is_not_a_sample_id_is_refused():
    with pytest.raises(ValueError, match="fixed_size_binary"):
        sample_id_bytes(pa.array([b"x"]))
    with pytest.raises(ValueError, match="1 nulls"):
        sample_id_bytes(pa.array([None, b"x" * 16], type=pa.binary(16)))
    with pytest.raises(ValueError, match="3 scores for 2"):
        terciles(np.zeros(3, dtype=np.float32), ids(2))
