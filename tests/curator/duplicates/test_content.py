"""Content hashes: equal exactly when the content is, text up to whitespace, bytes as they are."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.duplicates import content_hash

PIECES = st.sampled_from(
    ["a", " ", "  ", "\n", "\t", " " * 17, "eight by eight words", "\xa0", "\u2003", "é", "\x1f", "\0"]
)
TEXTS = st.one_of(st.none(), st.lists(PIECES, max_size=20).map("".join), st.text(max_size=20))


def slow(value: str | bytes | None) -> list[int]:
    raw = " ".join(value.split()).encode() if isinstance(value, str) else value
    digest = xxhash.xxh3_128_intdigest(raw) if raw else 0
    return [digest & (2**64 - 1), digest >> 64]


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, max_size=12), st.integers(0, 3))
def test_text_agrees_with_its_slow_twin(texts: list[str | None], cut: int) -> None:
    column = pa.array(texts, pa.string())[cut:]
    expected = np.array([slow(text) for text in texts[cut:]], np.uint64).reshape(-1, 2)
    np.testing.assert_array_equal(content_hash(column), expected)
    np.testing.assert_array_equal(content_hash(column.cast(pa.large_string())), expected)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(st.none(), st.binary(max_size=9)), max_size=12), st.integers(0, 3))
def test_bytes_agree_with_their_slow_twin(values: list[bytes | None], cut: int) -> None:
    column = pa.array(values, pa.binary())[cut:]
    expected = np.array([slow(value) for value in values[cut:]], np.uint64).reshape(-1, 2)
    np.testing.assert_array_equal(content_hash(column), expected)


def test_whitespace_is_free_in_text_and_counts_in_bytes() -> None:
    a, b, c, blank = content_hash(pa.array(["one two", " one\n\u2003two ", "one Two", " \n"])).tolist()
    assert a == b != c
    assert blank == [0, 0]
    a, b = content_hash(pa.array([b"one two", b"one  two"])).tolist()
    assert a != b


def test_other_columns_are_refused() -> None:
    with pytest.raises(TypeError, match="double"):
        content_hash(pa.array([1.5]))
