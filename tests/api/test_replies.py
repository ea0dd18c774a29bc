"""Conditional answers and byte ranges, against RFC 9110 in plain Python."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import Refusal
from api.replies import _range, named


def naive(first: int | None, last: int | None, size: int) -> list[int]:
    """The byte positions a range names (RFC 9110, section 14.1.2)."""
    if first is None:
        return list(range(size))[-last:] if last else []
    return [place for place in range(size) if place >= first and (last is None or place <= last)]


@given(st.integers(1, 40), st.none() | st.integers(0, 50), st.none() | st.integers(0, 50))
def test_a_range_names_the_bytes_the_standard_says(size: int, first: int | None, last: int | None) -> None:
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    wanted = naive(first, last, size)
    if (first is None and last is None) or (first is not None and last is not None and first > last):
        assert _range(header, size) is None
    elif not wanted:
        with pytest.raises(Refusal):
            _range(header, size)
    else:
        assert _range(header, size) == (wanted[0], wanted[-1] + 1)


@given(st.text(max_size=30))
def test_any_header_is_survived(header: str) -> None:
    try:
        found = _range(header, 100)
    except Refusal as refusal:
        assert refusal.status == 416
    else:
        assert found is None or 0 <= found[0] < found[1] <= 100


@pytest.mark.parametrize(
    ("header", "weak", "found"),
    [
        ('"a"', True, True), ('W/"a"', True, True), ('W/"a"', False, False), ('"b", "a"', False, True),
        ("*", True, True), ('"b"', True, False), ("a", True, False), ("", True, False), (None, True, False),
    ],
)  # fmt: skip
def test_tags_are_compared_as_told(header: str | None, weak: bool, found: bool) -> None:
    assert named(header, '"a"', weak=weak) is found
