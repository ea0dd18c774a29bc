"""Types: what they become, what goes with what, and values that do not fit."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.errors import InputError
from curator.readers import LIMITS, Limits
from curator.readers.columns import checked, conform, missing_column, normal_schema, pieces, select, widest

SIMPLE = [
    pa.null(), pa.bool_(), pa.int8(), pa.int32(), pa.int64(), pa.uint8(), pa.uint32(), pa.uint64(), pa.float32(),
    pa.float64(), pa.string(), pa.binary(), pa.date32(),
]  # fmt: skip
types = st.recursive(
    st.sampled_from(SIMPLE),
    lambda inner: (
        inner.map(pa.list_)
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(lambda d: pa.struct(list(d.items())))
    ),
    max_leaves=4,
)


@given(types, types)
def test_widest_does_not_care_which_came_first_but_for_the_order_of_fields(
    one: pa.DataType, other: pa.DataType
) -> None:
    forth, back = widest(one, other), widest(other, one)
    assert (forth is None) == (back is None)
    if forth is not None and "struct" not in str(forth):
        assert forth == back


@given(types, types)
def test_widest_holds_both(one: pa.DataType, other: pa.DataType) -> None:
    both = widest(one, other)
    if both is not None:
        assert widest(both, one) == both
        assert widest(both, other) == both


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (pa.int8(), pa.int32(), pa.int32()),
        (pa.int8(), pa.uint8(), pa.int16()),
        (pa.uint32(), pa.int8(), pa.int64()),
        (pa.uint64(), pa.int64(), None),
        (pa.int64(), pa.float32(), pa.float64()),
        (pa.string(), pa.int64(), None),
        (pa.bool_(), pa.int64(), None),
        (pa.string(), pa.binary(), None),
        (pa.null(), pa.string(), pa.string()),
        (pa.list_(pa.null()), pa.list_(pa.int8()), pa.list_(pa.int8())),
        (pa.struct({"a": pa.int8()}), pa.struct({"b": pa.string()}), pa.struct({"a": pa.int8(), "b": pa.string()})),
        (pa.struct({"a": pa.int8()}), pa.struct({"a": pa.string()}), None),
        (pa.list_(pa.int8()), pa.int8(), None),
    ],
)
def test_what_goes_with_what(one: pa.DataType, other: pa.DataType, both: pa.DataType | None) -> None:
    assert widest(one, other) == both
    if both is None or not pa.types.is_struct(both):  # the order of fields is the order met
        assert widest(other, one) == both


@pytest.mark.parametrize(
    ("given_type", "plain"),
    [
        (pa.large_string(), pa.string()),
        (pa.string_view(), pa.string()),
        (pa.large_binary(), pa.binary()),
        (pa.dictionary(pa.int8(), pa.large_string()), pa.string()),
        (pa.run_end_encoded(pa.int32(), pa.int64()), pa.int64()),
        (pa.large_list(pa.large_string()), pa.list_(pa.string())),
        (pa.list_(pa.large_string(), 2), pa.list_(pa.string(), 2)),
        (pa.struct({"a": pa.large_binary()}), pa.struct({"a": pa.binary()})),
        (pa.map_(pa.large_string(), pa.int8()), pa.map_(pa.string(), pa.int8())),
        (pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")),
    ],
)
def test_types_become_plain(given_type: pa.DataType, plain: pa.DataType) -> None:
    schema = pa.schema([pa.field("a", given_type)], metadata={"k": "v"})
    found = normal_schema(schema, "f", LIMITS)
    assert found == pa.schema([("a", plain)])
    assert found.metadata is None


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        (pa.schema([("a", pa.uuid())]), "extension type"),
        (pa.schema([("a", pa.list_(pa.uuid()))]), "extension type"),
        (pa.schema([("a", pa.dense_union([pa.field("x", pa.int8())]))]), "union"),
        (pa.schema([("a", pa.int8()), ("a", pa.int8())]), "repeated: 'a'"),
        (pa.schema([]), "no columns"),
    ],
)
def test_schemas_that_are_refused(schema: pa.Schema, word: str) -> None:
    with pytest.raises(InputError, match=word):
        normal_schema(schema, "f", LIMITS)


def test_caps_on_columns_and_nesting() -> None:
    wide = pa.schema([("a", pa.struct({str(number): pa.int8() for number in range(9)}))])
    with pytest.raises(InputError, match="9 leaf columns"):
        normal_schema(wide, "f", Limits(num_columns=8))
    deep = pa.int8()
    for _ in range(5):
        deep = pa.list_(deep)
    assert normal_schema(pa.schema([("a", deep)]), "f", Limits(nesting_depth=6))
    with pytest.raises(InputError, match="deeper than 5"):
        normal_schema(pa.schema([("a", deep)]), "f", Limits(nesting_depth=5))


def test_a_missing_column_lists_what_is_there_and_the_closest() -> None:
    there = ["id", "text", "label"]
    assert "did you mean 'text'" in str(missing_column("txt", there, "f"))
    assert "did you mean 'label'" in str(missing_column("LABEL", there, "f"))
    message = str(missing_column("zzz", there, "f.csv"))
    assert "did you mean" not in message
    assert "f.csv" in message
    assert "'id', 'text', 'label'" in message
    assert "and 10 more" in str(missing_column("q", [f"c{number}" for number in range(60)], "f"))


def test_select_keeps_the_order_asked_and_refuses_the_unknown() -> None:
    schema = pa.schema([("a", pa.int8()), ("b", pa.string())])
    assert select(schema, ["b", "a"], "f").names == ["b", "a"]
    assert select(schema, None, "f") is schema
    with pytest.raises(InputError, match="no such column"):
        select(schema, ["c"], "f")


def test_conform_casts_fills_and_names_the_value_that_does_not_fit() -> None:
    schema = pa.schema([("a", pa.float64()), ("b", pa.string()), ("c", pa.int8())])
    batch = pa.record_batch({"b": pa.array(["x", "x"]).dictionary_encode(), "a": pa.array([1, 2], pa.int32())})
    assert conform(batch, schema, "f", 0).to_pylist() == [
        {"a": 1.0, "b": "x", "c": None},
        {"a": 2.0, "b": "x", "c": None},
    ]
    large = pa.record_batch({"a": pa.array([1, 2, 2**53 + 1, 4], pa.int64())})
    with pytest.raises(InputError, match="does not fit the type double") as caught:
        conform(large, pa.schema([("a", pa.float64())]), "f", 100)
    assert (caught.value.row, caught.value.column) == (102, "a")


def test_checked_finds_bad_text_in_slices_and_in_nested_columns(bad_text: pa.Array) -> None:
    column = pa.chunked_array([["fine"] * 6, bad_text]).combine_chunks()
    batch = pa.record_batch({"t": column}).slice(3)
    with pytest.raises(InputError, match="UTF-8") as caught:
        checked(batch, "f", 13, LIMITS)
    assert caught.value.row == 17
    nested = pa.record_batch({"l": pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), bad_text)})
    with pytest.raises(InputError, match="in one of the 2 rows from here") as caught:
        checked(nested, "f", 5, LIMITS)
    assert (caught.value.row, caught.value.column) == (5, "l")


@given(st.integers(0, 30), st.integers(1, 40), st.integers(1, 200))
def test_pieces_are_the_batch(rows: int, batch_rows: int, batch_bytes: int) -> None:
    batch = pa.record_batch({"a": list(range(rows)), "b": ["x" * number for number in range(rows)]})
    parts = list(pieces(batch, batch_rows, batch_bytes))
    assert [row for part in parts for row in part.to_pylist()] == batch.to_pylist()
    assert all(0 < part.num_rows <= batch_rows for part in parts)
