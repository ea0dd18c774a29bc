"""The row filter against a filter in plain Python."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.errors import InputError, RecipeError
from curator.readers import matches

cell = st.none() | st.sampled_from(["train", "test", ""])
number = st.none() | st.integers(0, 3)


@given(
    st.lists(st.tuples(cell, number), max_size=20),
    st.lists(cell, max_size=3) | cell,
    st.lists(number, max_size=3) | number,
)
def test_the_mask_is_what_plain_python_says(rows: list[tuple[Any, Any]], split: Any, fold: Any) -> None:
    batch = pa.record_batch(
        {
            "split": pa.array([row[0] for row in rows], pa.string()),
            "fold": pa.array([row[1] for row in rows], pa.int8()),
        }
    )
    listed = [value if isinstance(value, list) else [value] for value in (split, fold)]
    expected = [row[0] in listed[0] and row[1] in listed[1] for row in rows]
    mask = matches(batch, {"split": split, "fold": fold})
    assert mask.to_pylist() == expected
    assert mask.null_count == 0


def test_an_empty_filter_keeps_all_and_a_dictionary_column_works() -> None:
    batch = pa.record_batch({"split": pa.array(["a", "b"]).dictionary_encode()})
    assert matches(batch, {}).to_pylist() == [True, True]
    assert matches(batch, {"split": "b"}).to_pylist() == [False, True]


def test_nan_matches_nothing() -> None:
    batch = pa.record_batch({"x": [float("nan"), 1.0, None]})
    assert matches(batch, {"x": [1]}).to_pylist() == [False, True, False]


def test_an_unknown_column_is_named_with_the_closest() -> None:
    with pytest.raises(InputError, match="did you mean 'split'"):
        matches(pa.record_batch({"split": ["a"]}), {"splits": "a"})


@pytest.mark.parametrize(
    ("column", "value"),
    [(pa.array([1]), "a"), (pa.array(["a"]), 1), (pa.array([1]), True), (pa.array([1], pa.int8()), 300)],
)
def test_a_value_of_another_type_is_refused_not_matched_by_nothing(column: pa.Array, value: Any) -> None:
    with pytest.raises(RecipeError, match="where: x"):
        matches(pa.record_batch({"x": column}), {"x": value})
