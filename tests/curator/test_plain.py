"""Values become JSON and lose nothing but what JSON has no word for."""

from __future__ import annotations

import datetime as dt
import decimal
import json

from curator.plain import plain


def test_every_value_has_a_json_form() -> None:
    value = {
        1: b"\x00\xff",
        "n": [float("nan"), 0.5, None, True],
        "d": dt.date(2026, 1, 2),
        "x": decimal.Decimal("1.50"),
    }
    told = plain(value)
    assert told == {"1": "00ff", "n": [None, 0.5, None, True], "d": "2026-01-02", "x": "1.50"}
    json.dumps(told, allow_nan=False)
