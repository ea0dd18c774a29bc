"""The surprisal model: the formula in plain Python, free order, exact round trips, and harder text costs more bits."""

from __future__ import annotations

from collections import Counter
from math import log2

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.errors import IntegrityError
from curator.signals.surprisal import ORDER, PIECE_BYTES, PIECES, SurprisalModel

TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=20), st.text(alphabet="abc ", max_size=40)), max_size=6)


def grams(raw: bytes, k: int) -> list[tuple[bytes, int]]:
    """(the k bytes before, byte) at every place; zeros stand before the text."""
    padded = bytes(ORDER) + raw
    return [(padded[at - k : at], padded[at]) for at in range(ORDER, len(padded))]


def slow(fitted: list[str | None], text: str) -> float:
    known = [item.encode() for item in fitted if item]
    seen = [Counter(gram for raw in known for gram in grams(raw, k)) for k in range(ORDER)]
    contexts = [Counter(before for raw in known for before, _ in grams(raw, k)) for k in range(ORDER)]
    raw = text.encode()
    places = read(len(raw))
    bits = 0.0
    for at in places:
        chance = 1 / 256
        for k in range(ORDER):
            before, byte = grams(raw, k)[at]
            chance = (seen[k][before, byte] + 2 * chance) / (contexts[k][before] + 2)
        bits -= log2(chance)
    return bits / len(places)


def read(size: int) -> list[int]:
    """Which bytes of a text are scored."""
    if size <= PIECES * PIECE_BYTES:
        return list(range(size))
    firsts = [(size - PIECE_BYTES) * piece // (PIECES - 1) for piece in range(PIECES)]
    return [first + at for first in firsts for at in range(PIECE_BYTES)]


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS)
def test_agrees_with_the_formula(fitted: list[str | None], texts: list[str | None]) -> None:
    found = SurprisalModel.fit(pa.array(fitted, pa.string()), seed=3).score(pa.array(texts, pa.string()))
    expected = [slow(fitted, text) if text else float("nan") for text in texts]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_long_text_is_read_in_pieces_from_its_first_byte_to_its_last() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    for size in (PIECES * PIECE_BYTES, PIECES * PIECE_BYTES + 1, 2_600, 5_003):
        text = "".join(rng.choice(list("abc d"), size))
        found = SurprisalModel.fit(pa.array(["abcab d c"]), seed=3).score(pa.array([text]))
        np.testing.assert_allclose(found, [slow(["abcab d c"], text)], rtol=1e-5)
        assert read(size)[0] == 0 and read(size)[-1] == size - 1


def test_the_order_of_texts_and_their_layout_are_free() -> None:
    texts = ["one text", None, "and another text", "", "a third"]
    column = pa.array(["before", *texts, "after"])
    whole = SurprisalModel.fit(pa.array(texts), seed=1).to_bytes()
    assert SurprisalModel.fit(pa.array(texts[::-1]), seed=1).to_bytes() == whole
    assert SurprisalModel.fit(column.slice(1, 5), seed=1).to_bytes() == whole
    assert SurprisalModel.fit([column.slice(3, 3), column.slice(1, 2)], seed=1).to_bytes() == whole
    assert SurprisalModel.fit(pa.array(texts), seed=2).to_bytes() != whole


def test_round_trips_twice_and_refuses_what_is_not_a_model() -> None:
    column = pa.array(["some words to learn from, and some more of them"] * 3)
    model = SurprisalModel.fit(column, seed=5)
    data = model.to_bytes()
    again = SurprisalModel.from_bytes(data)
    assert SurprisalModel.from_bytes(again.to_bytes()).to_bytes() == data
    np.testing.assert_array_equal(again.score(column), model.score(column))
    assert len(data) <= 16 * 2**20
    for broken, complaint in ((b"", "not a surprisal model"), (data[:-1], "cut off"), (data + b"x", "cut off")):
        with pytest.raises(IntegrityError, match=complaint):
            SurprisalModel.from_bytes(broken)
    with pytest.raises(IntegrityError, match="version 9"):
        SurprisalModel.from_bytes(data.replace(b'"version": 1', b'"version": 9'))


def test_an_unfitted_model_guesses() -> None:
    assert SurprisalModel.fit(pa.array([], pa.string()), seed=0).score(pa.array(["abc"]))[0] == pytest.approx(8)


def test_held_out_documents_are_easier_than_shuffled_or_foreign_ones(data) -> None:  # type: ignore[no-untyped-def]
    texts = pq.read_table(data / "tech_docs.parquet", columns=["text"])["text"].combine_chunks()
    model = SurprisalModel.fit(texts.slice(0, 300), seed=0)
    held_out = texts.slice(300, 60)
    rng = np.random.Generator(np.random.PCG64(0))
    shuffled = pa.array(["".join(rng.permutation(list(text[:2000]))) for text in held_out.to_pylist()])
    plain = model.score(held_out)
    assert 1 < np.median(plain) < 3.5
    assert (model.score(shuffled) > plain + 1).mean() > 0.95
    assert np.median(model.score(texts.slice(0, 60))) < np.median(plain)
