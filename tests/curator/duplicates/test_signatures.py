"""MinHash signatures: an unbiased estimate of Jaccard similarity, free of how Arrow lays the text out."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.duplicates import band_hashes, minhash
from curator.duplicates.signatures import NO_WORDS
from curator.signals.text.unicode import SOLO, char_classes


def sign(texts: list[str | None] | pa.Array, **options: int) -> np.ndarray:
    column = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
    return minhash(column, **{"num_perm": 112, "ngram": 5, "seed": 0, **options}).signatures


def slow_words(text: str) -> list[str]:
    """The words that shingles are made of, one character at a time."""
    spaced = []
    for char in text:
        if char_classes()[ord(char)] & SOLO:
            spaced.append(f" {char} ")
        elif unicodedata.category(char)[0] in "LMN":
            spaced.append(chr(ord(char) + 32) if "A" <= char <= "Z" else char)
        else:
            spaced.append(" ")
    return "".join(spaced).split(" ")


def slow_shingles(text: str, ngram: int) -> set[tuple[str, ...]]:
    words = [word for word in slow_words(text) if word]
    return {tuple(words[at : at + ngram]) for at in range(max(len(words) - ngram + 1, 1))} if words else set()


def jaccard(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    return len(a & b) / max(len(a | b), 1)


def test_estimates_jaccard_within_its_standard_error(data) -> None:  # type: ignore[no-untyped-def]
    texts = pq.read_table(data / "tech_docs.parquet", columns=["text"])["text"].to_pylist()[:100]
    rng = np.random.Generator(np.random.PCG64(5))
    errors = []
    for text in texts:
        words = text.split()[:400]
        spoiled = [word if rng.random() > 0.02 else "changed" for word in words]
        pair = [" ".join(words), " ".join(spoiled)]
        truth = jaccard(slow_shingles(pair[0], 5), slow_shingles(pair[1], 5))
        signatures = sign(pair)
        errors.append((np.mean(signatures[0] == signatures[1]) - truth, np.sqrt(truth * (1 - truth) / 112)))
    error, scale = np.array(errors).T
    assert abs(error.mean()) < 4 * np.sqrt((scale**2).sum()) / len(error)
    assert 0.7 < np.sqrt((error**2).mean() / (scale**2).mean()) < 1.3


PIECES = st.sampled_from(
    ["a", "B", "b2", " ", "\n", ", ", "é", "É", "你", "好", "。", "\u0301", "ภ", "\xa0", "_", "x" * 9]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=14).map("".join), st.lists(PIECES, max_size=14).map("".join), st.integers(1, 3))
def test_equal_shingles_equal_signatures_and_nothing_else(one: str, two: str, ngram: int) -> None:
    a, b = sign([one, two], ngram=ngram)
    x, y = slow_shingles(one, ngram), slow_shingles(two, ngram)
    assert (a == b).all() == (x == y)
    assert not x & y or (a == b).any() or jaccard(x, y) < 0.3
    assert bool(x) == (a != NO_WORDS).any()


def test_short_texts_are_one_shingle_and_wordless_ones_resemble_nothing() -> None:
    short, same, other, marks, empty, null = sign(["One two", "one, TWO!", "one three", "--- ?!", "", None])
    assert (short == same).all()
    assert (short != other).any()
    for wordless in (marks, empty, null):
        assert (wordless == NO_WORDS).all()
    bands = band_hashes(sign(["One two", "---", None]), 14)
    assert (bands[0] != 0).all()
    assert (bands[1:] == 0).all()


def test_layout_does_not_matter() -> None:
    texts = ["alpha beta gamma delta epsilon zeta", None, "", "one two three", "日本語の文章です", "x " * 500]
    column = pa.array(texts)
    whole = sign(column)
    for row in range(len(texts)):
        np.testing.assert_array_equal(sign(column.slice(row, 1))[0], whole[row])
    np.testing.assert_array_equal(sign(column.cast(pa.large_string())), whole)
    np.testing.assert_array_equal(sign(texts[::-1])[::-1], whole)


def test_the_seed_chooses_the_functions() -> None:
    a, b, c = (sign(["one two three four five six"], seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_bands_agree_exactly_where_signatures_do() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    signatures = rng.integers(0, 2, (64, 12), np.uint32)
    bands = band_hashes(signatures, 4)
    for band in range(4):
        part = signatures[:, 3 * band : 3 * band + 3]
        equal = (part[:, None] == part[None]).all(axis=2)
        np.testing.assert_array_equal(bands[:, None, band] == bands[None, :, band], equal)
    with pytest.raises(ValueError, match="112 numbers does not divide into 13 bands"):
        band_hashes(np.zeros((1, 112), np.uint32), 13)


def test_slow_words_read_like_a_plain_tokeniser() -> None:
    text = "The quick_brown Fox, 42 times."
    assert [word for word in slow_words(text) if word] == re.findall(r"[a-z0-9]+", text.lower())
