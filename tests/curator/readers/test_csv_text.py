"""CSV: types that every value bears out, nulls, and rows that do not fit, named."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
import zstandard

from curator.errors import InputError
from curator.readers import Limits, discover, scan

Write = Callable[[str, bytes], str]


def type_of(write: Write, *cells: str) -> pa.DataType:
    data = "x,y\n" + "".join(f"{cell},0\n" for cell in cells)
    return scan(discover([write("a.csv", data.encode())])[0], unit_rows=10).schema.field("x").type


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "-2", ""], pa.int64()),
        (["9223372036854775807"], pa.int64()),
        (["1", "2.5"], pa.float64()),
        (["1e5", "NaN", "", ".5", "-inf"], pa.float64()),
        (["true", "False", ""], pa.bool_()),
        (["true", "1"], pa.string()),
        (["007", "1"], pa.string()),
        (["9223372036854775808", "1"], pa.string()),
        (["1234567890123456", "0.5"], pa.string()),
        (["2020-01-01"], pa.string()),
        (["1", "x"], pa.string()),
        (["1 "], pa.string()),
        (["NA"], pa.string()),
        (["", ""], pa.null()),
    ],
)
def test_a_column_has_a_type_only_if_every_value_has(write: Write, cells: list[str], expected: pa.DataType) -> None:
    assert type_of(write, *cells) == expected


def test_an_empty_cell_is_null_and_a_quoted_one_is_empty_text(write: Write, rows_of: Any) -> None:
    rows = rows_of(write("a.csv", b'n,t\n1,\n,""\n2,"null"\n'))
    assert rows == [{"n": 1, "t": None}, {"n": None, "t": ""}, {"n": 2, "t": "null"}]


def test_quotes_commas_line_ends_and_marks(write: Write, rows_of: Any) -> None:
    data = '\ufeffa,"b ""q"""\r\n"x,y","line 1\nline 2"\r\n"say ""hi""",é\r\n'.encode()
    assert rows_of(write("a.csv", data)) == [
        {"a": "x,y", 'b "q"': "line 1\nline 2"},
        {"a": 'say "hi"', 'b "q"': "é"},
    ]


@pytest.mark.parametrize(("name", "pack"), [("a.csv.gz", gzip.compress), ("a.csv.zst", zstandard.compress)])
def test_packed_files(write: Write, rows_of: Any, name: str, pack: Callable[[bytes], bytes]) -> None:
    assert rows_of(write(name, pack(b"a,b\n1,x\n2,y\n"))) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


def test_rows_over_several_blocks_keep_one_type(write: Write, rows_of: Any) -> None:
    data = b"a,b\n" + b"".join(b"%d,x%d\n" % (number, number) for number in range(400)) + b"0.5,y\n"
    rows = rows_of(write("a.csv", data), limits=Limits(line_bytes=256), batch_rows=7)
    assert rows[7] == {"a": 7.0, "b": "x7"}
    assert rows[400] == {"a": 0.5, "b": "y"}


def test_nan_is_a_number_and_no_null(write: Write, rows_of: Any) -> None:
    rows = rows_of(write("a.csv", b"a,b\nnan,1\n,2\n1.5,3\n"))
    assert math.isnan(rows[0]["a"])
    assert [row["a"] for row in rows[1:]] == [None, 1.5]


@pytest.mark.parametrize(
    ("data", "row", "column", "word"),
    [
        (b"a,b\n1,x\n2\n3,z\n", 1, None, "1 cells, but the header names 2"),
        (b"a,b\n1,x\n2,y\n3,z,w\n", 2, None, "3 cells, but the header names 2"),
        (b"a,b\n1,x\n2,\xff\xfe\n", 1, "b", "not valid UTF-8"),
        (b"a,b\n1,x\n2,\xff,3\n", 1, None, "3 cells, but the header names 2"),
        (b'a,b\n1,x\n2,"y\n3,z\n4,w\n', 1, None, "quote that never closes"),
        (b'a,b\n1,"y\n3,z', 0, None, "quote that never closes"),
    ],
)
def test_a_row_that_does_not_fit_is_named(write: Write, data: bytes, row: int, column: str | None, word: str) -> None:
    path = write("a.csv", data)
    with pytest.raises(InputError, match=word) as caught:
        scan(discover([path])[0], unit_rows=10)
    assert (caught.value.file, caught.value.row, caught.value.column) == (path, row, column)


def test_a_last_cell_with_a_line_end_is_fine_when_its_quote_closes(write: Write, rows_of: Any) -> None:
    for end in (b"", b"\n", b"\r\n", b"\n\n"):
        assert rows_of(write("a.csv", b'a,b\n1,"y\n"' + end)) == [{"a": 1, "b": "y\n"}]


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"a,b\n", "header but no rows"),
        (b"a,b", "cannot infer number of columns"),
        (b"a,b,a\n1,2,3\n", "column names are repeated: 'a'"),
        (b"a\xff,b\n1,2\n", "header that is not valid UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_wrong_headers(write: Write, data: bytes, word: str) -> None:
    with pytest.raises(InputError, match=word):
        scan(discover([write("a.csv", data)])[0], unit_rows=10)


def test_a_row_over_the_cap(write: Write) -> None:
    path = write("a.csv", b"a,b\n1,x\n2," + b"y" * 2000 + b"\n3,z\n")
    with pytest.raises(InputError, match="row of more than 500 bytes"):
        scan(discover([path])[0], unit_rows=10, limits=Limits(line_bytes=500))
