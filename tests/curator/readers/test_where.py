"""The row filter against a filter in plain Python."""

from __future__ import annotations

import datetime
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


DAYS = [datetime.date(2024, 1, 3), datetime.date(2024, 1, 4), None]
TIMES = [datetime.datetime(2024, 1, 3, 9, 30), datetime.datetime(2024, 1, 4), None]


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
def test_a_date_is_asked_for_as_iso_text(kind: pa.DataType) -> None:
    batch = pa.record_batch({"day": pa.array(DAYS, kind)})
    assert matches(batch, {"day": "2024-01-03"}).to_pylist() == [True, False, False]
    assert matches(batch, {"day": datetime.date(2024, 1, 3)}).to_pylist() == [True, False, False], "as YAML reads it"
    assert matches(batch, {"day": ["2024-01-04", None]}).to_pylist() == [False, True, True]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_a_timestamp_is_asked_for_as_iso_text(unit: str, zone: str | None) -> None:
    """Without an offset it is UTC where the column has a zone; a date alone is its midnight."""
    batch = pa.record_batch({"at": pa.array(TIMES, pa.timestamp(unit, zone))})
    assert matches(batch, {"at": "2024-01-03T09:30:00"}).to_pylist() == [True, False, False]
    assert matches(batch, {"at": ["2024-01-04", "2024-01-03"]}).to_pylist() == [False, True, False]
    if zone:
        assert matches(batch, {"at": "2024-01-03T18:30:00+09:00"}).to_pylist() == [True, False, False]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.date32(), "3 January"), (pa.date32(), 20240103), (pa.date32(), "2024-01-03T09:30:00"), (pa.date32(), True),
        (pa.timestamp("s"), "2024-01-03T09:30:00.5"), (pa.timestamp("us"), "2024-01-03T09:30:00+09:00"),
        (pa.timestamp("ns"), "1600-01-01"), (pa.timestamp("us"), 1704274200), (pa.timestamp("us"), "soon"),
    ],
)  # fmt: skip
def test_what_is_no_such_moment_is_refused_with_its_value_and_type(kind: pa.DataType, value: Any) -> None:
    with pytest.raises(RecipeError, match="where: x is ") as told:
        matches(pa.record_batch({"x": pa.array(TIMES if pa.types.is_timestamp(kind) else DAYS, kind)}), {"x": value})
    assert repr(value) in str(told.value)
