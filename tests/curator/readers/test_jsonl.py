"""JSONL: types over the whole file, units by bytes, and rows that do not fit, named."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from curator.errors import InputError
from curator.readers import LIMITS, Limits, discover, line_blocks, plan_inputs, read, scan
from curator.readers.limits import MIB

Write = Callable[[str, bytes], str]


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few lines, so that short files cross block borders."""
    monkeypatch.setattr(line_blocks, "CHUNK_BYTES", 128)


ROWS = [{"id": number, "text": f"line {number} é", "n": {"x": [number, None]}} for number in range(53)]


@pytest.mark.parametrize("unit_rows", [1, 7, 53, 1000])
@pytest.mark.parametrize("batch_rows", [1, 10, 4096])
def test_rows_are_the_same_however_the_file_is_cut(write: Write, rows_of: Any, unit_rows: int, batch_rows: int) -> None:
    path = write("a.jsonl", lines(*ROWS))
    assert rows_of(path, unit_rows=unit_rows, batch_rows=batch_rows) == ROWS
    info = scan(discover([path])[0], unit_rows=unit_rows)
    assert [unit.rows for unit in info.units[:-1]] == [unit_rows] * (len(info.units) - 1)


@pytest.mark.parametrize("glue", [b"\n", b"\r\n", b"\n\n", b"\n \t\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_blank_lines_and_byte_order_marks_are_no_rows(write: Write, rows_of: Any, glue: bytes, mark: bytes) -> None:
    data = mark + glue.join(json.dumps(row).encode() for row in ROWS)
    assert rows_of(write("a.jsonl", data), unit_rows=5) == ROWS


def test_types_widen_over_the_whole_file_and_late_fields_are_found(write: Write, rows_of: Any) -> None:
    path = write(
        "a.jsonl", lines(*[{"a": 1, "b": None}] * 40, {"a": 2.5}, {"b": "late", "c": {"k": True}}, {"c": {"l": []}})
    )
    rows = rows_of(path)
    assert rows[0] == {"a": 1.0, "b": None, "c": None}
    assert isinstance(rows[0]["a"], float)
    assert rows[-2] == {"a": None, "b": "late", "c": {"k": True, "l": None}}
    assert rows[-1] == {"a": None, "b": None, "c": {"k": None, "l": []}}


def test_text_that_looks_like_a_time_stays_text(write: Write, rows_of: Any) -> None:
    rows = [{"t": "2020-01-01 00:00:00", "n": {"u": "2020-01-01"}}] * 30 + [{"t": "soon", "n": {"u": "then"}}]
    assert rows_of(write("a.jsonl", lines(*rows))) == rows


def test_nan_infinity_and_nulls_pass_through(write: Write, rows_of: Any) -> None:
    rows = rows_of(write("a.jsonl", b'{"x": NaN}\n{"x": null}\n{"x": -Infinity}\n{}\n'))
    assert math.isnan(rows[0]["x"])
    assert [row["x"] for row in rows[1:]] == [None, -math.inf, None]


def test_escaped_control_characters_pass_through(write: Write, rows_of: Any) -> None:
    rows = [{"t": "a\x00b\n\u2028\x85\x1c"}]
    assert rows_of(write("a.jsonl", lines(*rows))) == rows


@pytest.mark.parametrize(
    ("data", "row", "column", "word"),
    [
        (lines({"a": 1}, {"a": "x"}), 1, "a", "one column has one type"),
        (lines(*[{"a": 1}] * 60, {"a": "x"}, {"a": 1}), 60, "a", "one column has one type"),
        (lines(*[{"b": 0}] * 61, *[{"a": [1]}] * 9, {"a": {}}), 70, "a", "one column has one type"),
        (lines({"a": 1}) + b'\n{"a": \n', 1, None, "cannot be read as jsonl"),
        (lines({"a": 1}, {"a": 2}) + b'{"a": "\xff"}\n', 2, None, "not valid UTF-8"),
        (b'{"a": "\\ud800"}\n', 0, None, "surrogate"),
        (b"[1, 2]\n", 0, None, "not a JSON object"),
        (b'[\n{"a": 1},\n{"a": 2}\n]\n', 0, None, "not a JSON object"),
        (b'{"a": 1} {"a": 2}\n', 0, None, "one object a line"),
        (b'{"a": 1, "a": 2}\n', 0, "a", "each key of an object once"),
        (lines(*[{"a": 1}] * 40, {"a": 2**64}), 40, "a", "too large to be kept exactly"),
        (lines({"b": 0.5, "a": [{"c": 2**53 + 1}, {"c": 0.5}]}), 0, "a", "too large to be kept exactly"),
    ],
)
def test_a_row_that_does_not_fit_is_named(write: Write, data: bytes, row: int, column: str | None, word: str) -> None:
    path = write("a.jsonl", data)
    with pytest.raises(InputError, match=word) as caught:
        scan(discover([path])[0], unit_rows=10)
    assert (caught.value.file, caught.value.row, caught.value.column) == (path, row, column)


def test_large_integers_are_exact_where_they_can_be(write: Write, rows_of: Any) -> None:
    rows = [{"a": 2**53 + 1, "b": 1e300}, {"a": 2**63 - 1, "b": 12345678901234567.0}]
    assert rows_of(write("a.jsonl", lines(*rows))) == rows


@pytest.mark.parametrize(("data", "word"), [(b"\n \n\n", "only blank lines"), (b"{}\n{}\n", "no columns")])
def test_files_without_rows_or_columns(write: Write, data: bytes, word: str) -> None:
    with pytest.raises(InputError, match=word):
        scan(discover([write("a.jsonl", data)])[0], unit_rows=10)


def test_endless_new_keys_stop_at_the_cap(write: Write) -> None:
    path = write("a.jsonl", lines(*({f"key {number}": 1} for number in range(50))))
    with pytest.raises(InputError, match="more than the cap of 30"):
        scan(discover([path])[0], unit_rows=10, limits=Limits(num_columns=30))


def test_nesting_is_refused_before_the_parser_sees_it(write: Write) -> None:
    path = write("a.jsonl", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n")
    with pytest.raises(InputError, match="nested deeper than 32"):
        scan(discover([path])[0], unit_rows=10)


def test_a_line_over_the_cap(write: Write) -> None:
    with pytest.raises(InputError, match="line of more than"):
        scan(discover([write("a.jsonl", b'{"a": "' + b"x" * 2 * MIB)])[0], unit_rows=1, limits=Limits(line_bytes=MIB))


def test_several_files_share_one_schema(write: Write, rows_of: Any) -> None:
    first = write("1.jsonl", lines({"a": 1, "only_here": "x"}))
    second = write("2.jsonl", lines({"a": 0.5, "n": [1]}))
    assert rows_of(first, second) == [
        {"a": 1.0, "only_here": "x", "n": None},
        {"a": 0.5, "only_here": None, "n": [1]},
    ]


def test_columns_are_projected(write: Write, rows_of: Any) -> None:
    path = write("a.jsonl", lines(*ROWS))
    assert rows_of(path, columns=["text"]) == [{"text": row["text"]} for row in ROWS]
    plan = plan_inputs(discover([path]), unit_rows=10)
    counted = sum(batch.num_rows for unit in plan.units for _, batch in read(unit, schema=plan.schema, columns=[]))
    assert counted == len(ROWS)


def test_a_batch_never_holds_more_than_asked_and_always_something(write: Write) -> None:
    plan = plan_inputs(discover([write("a.jsonl", lines(*ROWS))]), unit_rows=20)
    sizes = [
        batch.num_rows
        for unit in plan.units
        for _, batch in read(unit, schema=plan.schema, batch_rows=2, limits=LIMITS)
    ]
    assert set(sizes) <= {1, 2}


def test_a_column_of_nulls_alone_has_the_null_type(write: Write) -> None:
    info = scan(discover([write("a.jsonl", lines({"a": 1, "b": None}, {"a": 2, "b": None}))])[0], unit_rows=5)
    assert info.schema == pa.schema([("a", pa.int64()), ("b", pa.null())])
