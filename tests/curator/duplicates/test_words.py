"""Words found 64 bytes at a time are those found one character at a time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.duplicates.words import word_hashes
from curator.signals.buffers import row_bytes
from curator.signals.text.unicode import char_classes
from tests.curator.duplicates.test_signatures import slow_words

ASCII = ("a", "Zz", "x2", "[", "`", "@", "{", "/", ":", "word", "longerthaneight", "Q" * 70, " ", "\n", "\x7f", "\0")
BEYOND = ("é", "É", "你", "ภ", "\u0301", "\xa0", "“", "🙂", "\U0002f800")
PIECES = st.sampled_from((*ASCII, *BEYOND, " plain words to pass a block of bytes quickly, "))
TEXTS = st.one_of(st.lists(PIECES, max_size=60).map("".join), st.text(max_size=200))


def hashes(text: str) -> list[int]:
    rows = row_bytes(pa.array(["#", text])[1:])
    size = int(rows.offsets[1] - rows.offsets[0])
    words = np.empty(size + 1, np.uint32)
    bounds = np.empty(2 * size + 2, np.uint64)
    first, last = np.uint64(rows.offsets[0]), np.uint64(rows.offsets[1])
    return words[: word_hashes(rows.data, first, last, char_classes(), bounds, words)].tolist()


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_words_are_those_of_the_slow_twin(text: str) -> None:
    slow = [word for word in slow_words(text) if word]
    found = hashes(text)
    alone = {word: hashes(word) for word in set(slow)}
    assert all(len(one) == 1 for one in alone.values())
    assert found == [alone[word][0] for word in slow]
    assert len(set(found)) == len(set(slow))


def test_words_of_every_length_differ() -> None:
    words = ["a" * size for size in range(1, 80)] + ["b" + "a" * size for size in range(80)]
    assert len({hashes(word)[0] for word in words}) == len(set(words))
    assert hashes(" ".join(words)) == [hashes(word)[0] for word in words]
