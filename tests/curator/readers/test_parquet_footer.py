"""The footer walk against real footers, hand-made nested ones, and noise."""

from __future__ import annotations

import contextlib
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.readers.parquet_footer import FooterError, schema_shape


def footer_of(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    data = sink.getvalue()
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def nested_footer(depth: int) -> bytes:
    """A FileMetaData whose schema is `depth` groups, one in the other, around a leaf."""
    group = b"\x35\x00\x18\x01a\x15\x02\x00"  # repetition required, name "a", one child
    leaf = b"\x15\x04\x25\x00\x18\x01a\x00"
    return b"\x15\x04\x19\xfc" + varint(depth + 1) + group * depth + leaf + b"\x16\x00\x19\x0c\x00"


def test_elements_and_depth_of_real_schemas() -> None:
    flat = pa.table({"a": [1], "b": ["x"]})
    assert schema_shape(footer_of(flat), 100, 10) == (3, 2)
    nested = pa.table({"a": [[{"b": 1}]]})  # root, list, its group, the struct, the leaf
    assert schema_shape(footer_of(nested), 100, 10) == (5, 5)


def test_a_wide_schema_is_counted_right() -> None:
    table = pa.table({f"c{number}": [number] for number in range(300)})
    assert schema_shape(footer_of(table), 1000, 10) == (301, 2)
    with pytest.raises(FooterError, match="301 elements, the cap is 300"):
        schema_shape(footer_of(table), 300, 10)


def test_siblings_after_a_deep_branch_are_not_deeper() -> None:
    table = pa.table({"a": [{"b": {"c": 1}}], "z": [1]})
    assert schema_shape(footer_of(table), 100, 10) == (5, 4)


def test_nesting_past_the_cap_is_refused_without_recursion() -> None:
    assert schema_shape(nested_footer(5), 100, 6) == (6, 6)
    with pytest.raises(FooterError, match="deeper than 32"):
        schema_shape(nested_footer(200_000), 1_000_000, 32)


@given(st.binary(max_size=200))
def test_noise_is_refused_or_walked_but_never_breaks_the_walk(data: bytes) -> None:
    try:
        size, depth = schema_shape(data, 100, 10)
    except FooterError:
        return
    assert 0 < size <= 100
    assert 0 < depth <= 10


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_real_footer_never_breaks_the_walk(place: int, value: int) -> None:
    data = bytearray(footer_of(pa.table({"a": [1], "b": [[1]]})))
    data[place % len(data)] = value
    with contextlib.suppress(FooterError):
        schema_shape(bytes(data), 100, 10)
