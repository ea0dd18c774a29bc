"""`.json` members: what img2dataset and DataComp write beside a picture becomes columns, or is refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from curator.errors import InputError
from curator.readers import discover, plan_inputs, read, scan
from tests.curator.readers.test_webdataset import packed

Write = Callable[[str, bytes], str]
META = [
    {"caption": "a cat é", "url": "http://x/1", "key": "000000000", "status": "success", "error_message": None,
     "width": 256, "similarity": 1, "nsfw": False, "exif": "{}", "faces": [[0, "é"]], "uid": "ab"},
    {"caption": None, "width": 2**40, "similarity": 0.25, "faces": {}, "sha256": "00"},
]  # fmt: skip


def tar_of(*values: Any) -> bytes:
    members = {
        f"{row:03}.json": value if isinstance(value, bytes) else json.dumps(value).encode()
        for row, value in enumerate(values)
    }
    return packed(members)


def test_keys_become_columns_as_img2dataset_writes_them(write: Write, rows_of: Any) -> None:
    members = {
        "0.jpg": b"\xff", "0.txt": b"a cat", "0.json": json.dumps(META[0], indent=4).encode(), "1.jpg": b"\xd8",
        "1.json": json.dumps(META[1]).encode(), "2.jpg": b"\xd9",
    }  # fmt: skip
    path = write("a.tar", packed(members))
    schema = scan(discover([path])[0], unit_rows=5).schema
    assert schema.names == ["__key__", "jpg", "txt", *META[0], "sha256"]
    kinds = {"width": pa.int64(), "similarity": pa.float64(), "nsfw": pa.bool_(), "error_message": pa.null()}
    assert {name: schema.field(name).type for name in kinds} == kinds
    nothing = dict.fromkeys(schema.names)
    assert rows_of(path, batch_rows=2) == [
        {
            **nothing,
            **META[0],
            "__key__": "0",
            "jpg": b"\xff",
            "txt": "a cat",
            "similarity": 1.0,
            "faces": '[[0, "é"]]',
        },
        {**nothing, **META[1], "__key__": "1", "jpg": b"\xd8", "faces": "{}"},
        {**nothing, "__key__": "2", "jpg": b"\xd9"},
    ]
    assert rows_of(path, columns=["width"]) == [{"width": 256}, {"width": 2**40}, {"width": None}]


def test_files_that_lack_a_key_and_wider_types(write: Write, rows_of: Any) -> None:
    one, other = write("0.tar", tar_of({"a": 1, "b": "x"})), write("1.tar", tar_of({"a": 0.5}, {"c": [1]}))
    assert rows_of(one, other) == [
        {"__key__": "000", "a": 1.0, "b": "x", "c": None},
        {"__key__": "000", "a": 0.5, "b": None, "c": None},
        {"__key__": "001", "a": None, "b": None, "c": "[1]"},
    ]


def test_numbers_that_are_none(write: Write, rows_of: Any) -> None:
    [row, _] = rows_of(write("a.tar", tar_of(b'{"x": NaN}', b'{"x": 1}')))
    assert math.isnan(row["x"])


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (b'{"a": 1', "'001.json' is not valid JSON"),
        (b"", "'001.json' is not valid JSON"),
        (b'{"a": "\xff"}', "'001.json' is not valid UTF-8"),
        (b'{"a": 1, "a": 2}', "'a' is there twice"),
        (b'{"a": ' + b"[" * 100_000 + b"}", "'001.json' is not valid JSON"),
        (b'{"a": "\\ud800"}', "half of a surrogate pair at 'a'"),
        (b'{"a": ["\\ud800"]}', "half of a surrogate pair at 'a'"),
        (b"[1]", "holds a list, but"),
        (b"null", "holds null, but"),
        (b'"x"', "holds a string, but"),
    ],
)
def test_a_broken_member_names_tar_row_and_member(write: Write, value: bytes, word: str) -> None:
    path = write("a.tar", tar_of({"a": 1}, value))
    with pytest.raises(InputError, match=word) as caught:
        scan(discover([path])[0], unit_rows=5)
    assert (caught.value.file, caught.value.row, caught.value.column) == (path, 1, "json")
    assert "repair" in str(caught.value) or "another extension" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "row", "column", "word"),
    [
        ([{"a": 1}, {"a": "1"}], 1, "a", "int64 up to here and this one is string"),
        ([{"a": True}, {"a": 1}], 1, "a", "bool up to here"),
        ([{"a": "x"}, {"a": {"b": 1}}], 1, "a", "this one is an object or a list"),
        ([{"a": 0.5}, {}, {"a": 2**53 + 1}], 2, "a", "beside fractions"),
        ([{"a": 2**53 + 1}, {"a": 0.5}], 0, "a", "beside fractions"),
        ([{"a": 2**63}], 0, "a", "does not fit 64 bits"),
        ([{"__key__": "x"}], None, "__key__", "rename the key"),
    ],
)
def test_types_are_decided_over_the_whole_file(
    write: Write, values: list[Any], row: int | None, column: str, word: str
) -> None:
    with pytest.raises(InputError, match=word) as caught:
        scan(discover([write("a.tar", tar_of(*values))])[0], unit_rows=5)
    assert (caught.value.row, caught.value.column) == (row, column)


def test_a_key_named_like_a_member(write: Write) -> None:
    with pytest.raises(InputError, match="rename the key") as caught:
        scan(discover([write("a.tar", packed({"a.txt": b"x", "b.json": b'{"txt": "y"}'}))])[0], unit_rows=5)
    assert caught.value.column == "txt"


def test_an_integer_that_another_file_would_round(write: Write) -> None:
    plan = plan_inputs(
        discover([write("0.tar", tar_of({"a": 1}, {"a": 2**53 + 1})), write("1.tar", tar_of({"a": 0.5}))]), unit_rows=5
    )
    with pytest.raises(InputError, match="does not fit the type double") as caught:
        list(read(plan.units[0], schema=plan.schema))
    assert (caught.value.row, caught.value.column) == (1, "a")
