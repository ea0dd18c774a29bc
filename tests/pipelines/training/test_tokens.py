"""Byte tokens: nothing lost but what is counted, any Arrow layout, no per-row work."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.training.tokens import BEGIN, END, PAD, VOCABULARY, decode, encode


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(max_size=40), max_size=6), context=st.integers(3, 60), skip=st.integers(0, 2))
def test_encode_equals_the_slow_way(texts: list[str], context: int, skip: int) -> None:
    array = pa.array(["skipped"] * skip + texts, pa.string())[skip:]
    tokens = encode(array, context=context)
    assert tokens.ids.shape[0] == len(texts) and tokens.ids.shape[1] <= context
    for row, text in enumerate(texts):
        data = text.encode()
        kept = data[: context - 2]
        expected = [BEGIN, *kept, END]
        assert tokens.ids[row, : len(expected)].tolist() == expected
        assert (tokens.ids[row, len(expected) :] == PAD).all()
        assert tokens.lengths[row] == len(expected) and tokens.cut[row] == len(data) - len(kept)
    assert tokens.num_truncated == sum(len(text.encode()) > context - 2 for text in texts)


def test_text_comes_back() -> None:
    text = "naïve – 漢字 🙂"
    assert decode(encode(pa.array([text]), context=64).ids[0]) == text
    assert decode(encode(pa.array([text]), context=5).ids[0]) == "na\ufffd"


def test_large_strings_and_binary_read_alike() -> None:
    for kind in (pa.string(), pa.large_string(), pa.binary()):
        np.testing.assert_array_equal(
            encode(pa.array([b"ab", b""]).cast(kind), context=9).ids[:, :4],
            [[BEGIN, 97, 98, END], [BEGIN, END, PAD, PAD]],
        )


def test_widths_are_few_and_within_the_context() -> None:
    widths = {encode(pa.array(["x" * n]), context=100).ids.shape[1] for n in range(0, 120)}
    assert widths == {16, 32, 48, 64, 80, 96, 100}


def test_every_id_is_in_the_vocabulary() -> None:
    assert max(PAD, BEGIN, END) < VOCABULARY


def test_nulls_and_tiny_contexts_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 texts are null"):
        encode(pa.array(["a", None]), context=8)
    with pytest.raises(ValueError, match="no room for a byte"):
        encode(pa.array(["a"]), context=2)
