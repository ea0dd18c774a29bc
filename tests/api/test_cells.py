"""Any Arrow value as JSON: exact where it is data, bounded where it is shown."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import pyarrow as pa

from api.cells import IMAGE_BYTES, TEXT_CHARS, plain, shown_row, shown_rows

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 20


def test_every_kind_of_value_becomes_json() -> None:
    row = {
        "i": 1, "f": float("nan"), "g": float("inf"), "b": True, "n": None, "d": Decimal("1.50"),
        "t": dt.date(2026, 1, 2),
        "l": [1.5, None, float("nan")], "s": {"x": b"\x01"}, "bytes": b"\xff\x00",
    }  # fmt: skip
    out = plain(row)
    assert out == {
        "i": 1, "f": None, "g": None, "b": True, "n": None, "d": "1.50", "t": "2026-01-02", "l": [1.5, None, None],
        "s": {"x": "01"}, "bytes": "ff00",
    }  # fmt: skip
    json.dumps(out, allow_nan=False)


def test_long_texts_are_cut_and_named() -> None:
    row, cut = shown_row({"a": "x" * (TEXT_CHARS + 1), "b": "y" * TEXT_CHARS})
    assert (len(row["a"]), len(row["b"]), cut) == (TEXT_CHARS, TEXT_CHARS, ("a",))


def test_small_pictures_are_shown_and_other_bytes_told_by_size() -> None:
    row, _ = shown_row(
        {"p": PNG, "large": PNG + b"x" * IMAGE_BYTES, "svg": b"<svg onload=alert(1)>", "id": b"\x00" * 16}
    )
    assert row["p"]["media_type"] == "image/png" and row["p"]["base64"]
    assert row["large"]["base64"] is None
    assert (row["svg"]["media_type"], row["svg"]["base64"]) == (None, None)
    assert row["id"] == "00" * 16


def test_no_rows_are_no_rows() -> None:
    assert shown_rows([]).model_dump() == {"columns": (), "items": (), "cut": ()}
    empty = pa.RecordBatch.from_pylist([], schema=pa.schema([("a", pa.string())]))
    assert shown_rows([empty]).columns == ("a",)
