"""Sample ids: typed, stable, and repeats found in bounded memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from curator.errors import InputError
from curator.sample_id import check_unique, from_ids, from_position, to_hex

INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]


def reference(value: object) -> str:
    """The rule as its words say it, one value at a time."""
    if isinstance(value, int):
        record = b"i" + (value % 2**64).to_bytes(8, "little") + (b"\xff" if value < 0 else b"\x00")
    else:
        record = b"s" + value.encode() if isinstance(value, str) else b"b" + bytes(value)  # type: ignore[call-overload]
    return xxhash.xxh3_128_hexdigest(record)


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_integers_follow_the_rule(values: list[int]) -> None:
    assert to_hex(from_ids(pa.array(values, pa.int64()))).to_pylist() == [reference(value) for value in values]


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_unsigned_integers_follow_the_rule(values: list[int]) -> None:
    assert to_hex(from_ids(pa.array(values, pa.uint64()))).to_pylist() == [reference(value) for value in values]


@given(st.lists(st.text()))
def test_text_follows_the_rule(values: list[str]) -> None:
    for kind in (pa.string(), pa.large_string()):
        assert to_hex(from_ids(pa.array(values, kind))).to_pylist() == [reference(value) for value in values]


@given(st.lists(st.binary()))
def test_bytes_follow_the_rule(values: list[bytes]) -> None:
    assert to_hex(from_ids(pa.array(values, pa.binary()))).to_pylist() == [reference(value) for value in values]


def test_golden_ids_never_change() -> None:
    assert to_hex(from_ids(pa.array([7]))).to_pylist() == ["66fc5b6dd1485323a608fcf0afeff27e"]
    assert to_hex(from_ids(pa.array(["7"]))).to_pylist() == ["38d378f9d925ea058c5e2fffd3450a28"]
    assert to_hex(from_position("0" * 32, np.arange(2))).to_pylist() == [
        "7ecd9d5a431aae6083eefefa8c85fbca",
        "714df9bbe83e7761bc6579b128458355",
    ]


@pytest.mark.parametrize("kind", INTEGERS)
def test_equal_integers_of_any_width_have_equal_ids(kind: pa.DataType) -> None:
    assert from_ids(pa.array([0, 7, 100], kind)).equals(from_ids(pa.array([0, 7, 100], pa.int64())))


def test_types_are_kept_apart() -> None:
    columns = [pa.array([55]), pa.array(["7"]), pa.array([b"7"]), pa.array([-(2**64) + 55 + 2**63 + 2**63 - 1])]
    assert len({from_ids(column)[0].as_py() for column in columns}) == 4
    wrapped = pa.array([2**64 - 1], pa.uint64()), pa.array([-1], pa.int64())
    assert from_ids(wrapped[0]) != from_ids(wrapped[1])


def test_dictionaries_slices_and_empty_arrays() -> None:
    plain = pa.array(["a", "b", "c", "b"])
    assert from_ids(plain.dictionary_encode()).equals(from_ids(plain))
    assert from_ids(plain.slice(1, 2)).equals(from_ids(plain).slice(1, 2))
    empty = from_ids(plain.slice(0, 0))
    assert empty.type == pa.binary(16)
    assert len(empty) == 0


def test_a_null_id_names_its_row() -> None:
    with pytest.raises(InputError, match="null") as caught:
        from_ids(pa.array(["a", None, None]), first_row=100)
    assert caught.value.row == 101


@pytest.mark.parametrize("column", [pa.array([1.5]), pa.array([True]), pa.array([[1]]), pa.nulls(0)])
def test_types_that_do_not_name_rows_are_refused(column: pa.Array) -> None:
    with pytest.raises(InputError, match="do not name rows"):
        from_ids(column)


@given(st.binary(min_size=16, max_size=16), st.lists(st.integers(0, 2**63 - 1)))
def test_places_follow_the_rule(digest: bytes, rows: list[int]) -> None:
    found = to_hex(from_position(digest.hex(), np.array(rows, np.int64))).to_pylist()
    assert found == [xxhash.xxh3_128_hexdigest(b"p" + digest + row.to_bytes(8, "little")) for row in rows]


def test_a_digest_of_another_length_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="32 hex digits"):
        from_position("00", np.arange(1))


@given(st.lists(st.none() | st.binary(min_size=16, max_size=16)))
def test_hex_says_the_same_bytes_and_null_stays_null(values: list[bytes | None]) -> None:
    shown = to_hex(pa.array(values, pa.binary(16))).to_pylist()
    assert [None if text is None else bytes.fromhex(text) for text in shown] == values
    assert all(text is None or re.fullmatch("[0-9a-f]{32}", text) for text in shown)


units = st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=6)


@given(units, st.sampled_from([64, 300, 10_000]))
def test_repeats_are_counted_and_the_first_ten_listed(values: list[list[int]], memory_bytes: int) -> None:
    arrays = [from_ids(pa.array(unit, pa.int64())) for unit in values]
    seen: Counter[int] = Counter()
    repeats = []
    for unit, numbers in enumerate(values):
        for row, number in enumerate(numbers):
            if seen[number]:
                repeats.append(f"<{number}@{unit}.{row}>")
            seen[number] += 1

    def describe(unit: int, row: int) -> str:
        return f"<{values[unit][row]}@{unit}.{row}>"

    if not repeats:
        check_unique(arrays, memory_bytes=memory_bytes, describe=describe)
        return
    with pytest.raises(InputError) as caught:
        check_unique(arrays, memory_bytes=memory_bytes, describe=describe)
    assert str(caught.value).startswith(f"{len(repeats)} rows repeat")
    assert f"ids: {', '.join(repeats[:10])}. Remove" in str(caught.value)


def test_ids_alike_in_their_first_half_are_not_repeats() -> None:
    ids = pa.array([bytes(15) + b"\x01", bytes(15) + b"\x02", b"\x01" + bytes(15)], pa.binary(16))
    check_unique([ids])
    with pytest.raises(InputError, match="1 rows repeat"):
        check_unique([ids, ids.slice(1, 1)])


def test_slices_are_read_where_they_lie() -> None:
    ids = from_ids(pa.array(range(10)))
    check_unique([ids.slice(0, 5), ids.slice(5)])
    with pytest.raises(InputError, match=r"unit 1, row 0"):
        check_unique([ids.slice(0, 5), ids.slice(4)])


class Streamed:
    """Units that are made anew on each walk, as a reader from disk would."""

    walks = 0

    def __iter__(self) -> Iterator[pa.Array]:
        self.walks += 1
        for start in range(0, 1000, 100):
            yield from_ids(pa.array(range(start, start + 100)))


def test_little_memory_means_more_walks_not_more_memory() -> None:
    units = Streamed()
    check_unique(units, memory_bytes=16_000)
    assert units.walks == 1 + 4
