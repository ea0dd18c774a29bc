"""Cursors round-trip and refuse what they did not write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.catalog.paging import checked_limit, decode_cursor, encode_cursor, page_of
from curator.errors import RequestError

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
NUMBERS = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.one_of(TEXT, NUMBERS, st.floats(allow_nan=False, allow_infinity=False)), min_size=1))
def test_a_cursor_round_trips(key: list[str | int | float]) -> None:
    assert decode_cursor(encode_cursor(key), [type(part) for part in key]) == key


@pytest.mark.parametrize("cursor", ["", "nonsense", "e30", "WzFd", "🙂", "W10", encode_cursor(["a", "b"])])
def test_a_foreign_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(RequestError, match="start again without a cursor"):
        decode_cursor(cursor, [str])


@pytest.mark.parametrize("part", [2**63, -(2**63) - 1, "\0", "a\ud800"])
def test_what_no_database_can_be_asked_for_is_refused(part: str | int) -> None:
    with pytest.raises(RequestError, match="start again without a cursor"):
        decode_cursor(encode_cursor([part]), [type(part)])


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_limit_is_not_cut_silently(limit: int) -> None:
    with pytest.raises(RequestError, match=r"1\.\.1000"):
        checked_limit(limit)


def test_the_extra_row_only_says_there_is_more() -> None:
    page = page_of(["c", "b", "a"], 2, lambda name: (name,))
    assert page.items == ("c", "b")
    assert page.next_cursor == encode_cursor(["b"])
    assert page_of(["c", "b"], 2, lambda name: (name,)).next_cursor is None
    assert page_of([], 2, lambda name: (name,)).next_cursor is None
