"""Statistics of columns: the same however the rows are cut into batches, and as plain sums over them say."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from api.column_statistics import MOST_VALUES, Columns

TABLE = pa.table(
    {
        "n": pa.array([3, None, 1, 1], pa.int32()),
        "f": pa.array([0.5, math.nan, math.inf, None]),
        "t": ["a", "bb", "bb", None],
        "b": [True, None, True, False],
        "l": pa.array([[1, 2], [], None, [3]]),
        "x": pa.array([b"12", b"", None, b"123"]),
    }
)


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_sums_do_not_depend_on_batches(rows: int) -> None:
    columns = Columns(TABLE.schema)
    for batch in TABLE.to_batches(max_chunksize=rows):
        columns.add(batch)
    told = {column["name"]: column for column in columns.told()}
    assert columns.rows == 4
    assert {name: column["nulls"] for name, column in told.items()} == dict.fromkeys(told, 1)
    assert [told["n"][key] for key in ("of", "min", "max", "mean", "distinct")] == ["value", 1, 3, 5 / 3, 2]
    assert told["n"]["values"] == [[1, 2], [3, 1]]
    assert [told["f"][key] for key in ("min", "max", "mean", "distinct")] == [0.5, 0.5, 0.5, None]
    assert [told["t"][key] for key in ("of", "min", "max", "mean")] == ["length", 1, 2, 5 / 3]
    assert told["t"]["values"] == [["bb", 2], ["a", 1]]
    assert told["b"]["values"] == [[True, 2], [False, 1]] and told["b"]["min"] is None
    assert [told["l"][key] for key in ("of", "min", "max", "mean")] == ["length", 0, 2, 1.0]
    assert [told["x"][key] for key in ("min", "max", "distinct")] == [0, 3, None]


def test_a_column_of_many_values_says_only_that() -> None:
    columns = Columns(pa.schema([("id", pa.int64())]))
    columns.add(pa.record_batch({"id": list(range(MOST_VALUES + 1))}))
    columns.add(pa.record_batch({"id": [0]}))
    [told] = columns.told()
    assert (told["distinct"], told["values"], told["max"]) == (None, [], MOST_VALUES)


def test_a_column_of_nothing() -> None:
    columns = Columns(pa.schema([("n", pa.int64()), ("nothing", pa.null())]))
    columns.add(pa.record_batch({"n": pa.array([None], pa.int64()), "nothing": pa.nulls(1)}))
    assert [column["mean"] for column in columns.told()] == [None, None]


def test_long_texts_that_begin_alike_are_counted_apart_and_shown_cut() -> None:
    columns = Columns(pa.schema([("t", pa.string())]))
    columns.add(pa.record_batch({"t": ["a" * 100 + end for end in ("", "x", "y", "x")]}))
    [told] = columns.told()
    assert told["distinct"] == 3
    assert told["values"] == [["a" * 100, 2], ["a" * 100, 1], ["a" * 100, 1]]
