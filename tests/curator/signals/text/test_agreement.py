"""Every kernel agrees with its slow twin in `reference.py`: on any Unicode, on odd Arrow layouts, on real documents."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.signals import score_text
from curator.signals.text import FAMILIES
from curator.signals.text.language import PREFIX_CHARS
from tests.curator.signals.text.reference import score_one

NAMES = [name for family, members in FAMILIES.items() if family != "language" for name in members.signals]

# Pieces that the rules look for, so that random texts meet them: separators, marks, phrases, damage, other scripts.
PIECES = [
    *("●", "* x", ". . .", "THE", "Have", "TO", "SHOUTED LINE", "3.1K likes", "12 views", "7 Followers!", "(5 shares)"),
    *(
        "items in cart",
        "Items In Cart",
        "Read more...",
        "Sign-in",
        "sign-in now",
        "\n5m comments\n",
        "\nREAD MORE...\n",
    ),
    *("\n", "\n\n", " ", "  ", "\t", "\r\n", "\x0b", "\x1c", "\x85", "\xa0", "\u2003", "\u3000", "\x00", "\x7f"),
    *(
        "the",
        "of",
        "that",
        "The",
        "word",
        "a",
        "b",
        "ab",
        "ab cd",
        "#",
        "...",
        "..",
        "…",
        "•",
        "-",
        "- x",
        "•x",
        "1",
        "9.5",
    ),
    *(".", "!", "?", '."', "?)", "?”", "'", ":", "://", "http://x.y", "www.a.b", "WWW.c", "{", "}", "lorem ipsum"),
    *("JavaScript", "terms of use", "Use Cookies", "click here", "All rights reserved", 'as is" without warranty'),
    *(
        "Ã©",
        "Â°",
        "â€™",
        "ï»¿",
        "Ã",
        "\ufffd",
        "\ue000",
        "\x9f",
        "é",
        "É",
        "Ω",
        "你好",
        "世。界！",
        "नमस्ते।",
        "𝒳",
        "😀",
        "\U000f0000",
    ),
    *(
        "cannot",
        "don't",
        "I’m",
        "U.S.",
        "e.g.",
        "10km",
        "(see",
        "end).",
        "end.",
        "foo_bar",
        "a-b",
        "x=y",
        "1-2",
        ":)",
        "):",
    ),
    *(
        "[12]",
        "[edit]",
        "[citation needed]",
        "[",
        "1.",
        "A.",
        "co.",
        "$5",
        "+3",
        "C$4",
        "50%",
        "3.5°C.",
        "and/or",
        "--",
    ),
    *("One two three.", "Four five six? ", "use of cookies is", "uses cookies, too", "privacy policy of us", "«Oui»"),
    *("me@x.org", "10.0.0.1", "8.8.8.8:80/x", "http://ab.cd/e?f", "lower.Upper", "1,000.5", "a,b", "…", "''x''", "‘s"),
    *("x" * 7, "x" * 8, "x" * 9, "y" * 31, "ü" * 16, "long" * 260),
]
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join),
    st.lists(st.sampled_from(["a b c d e", "f g", "h", "a b", "the\n", "c d e f g h i j k l"]), max_size=30).map(
        " ".join
    ),
)


def assert_agrees(column: pa.Array, names: list[str] = NAMES) -> None:
    found = score_text(column, names)
    for row, text in enumerate(column.to_pylist()):
        expected = {name: float("nan") for name in names} if text is None else score_one(text)
        for name in names:
            want = np.float32(expected[name])
            assert np.array_equal(found[name][row], want, equal_nan=True), (name, text, found[name][row], want)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_any_text(text: str) -> None:
    assert_agrees(pa.array([text]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.none(), TEXTS), max_size=8),
    st.integers(0, 3),
    st.sampled_from([pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]),
)
def test_any_layout(texts: list[str | None], cut: int, kind: pa.DataType) -> None:
    column = pa.array(texts, pa.string()).cast(kind) if texts else pa.array([], pa.string())
    assert_agrees(column.slice(cut, max(len(texts) - 2 * cut, 0)))


def test_nulls_between_garbage() -> None:
    data = pa.py_buffer(b"one two\xff\xfe{\xe2three four")
    offsets = pa.py_buffer(np.array([0, 7, 11, 21], np.int32))
    column = pa.Array.from_buffers(pa.string(), 3, [pa.py_buffer(b"\x05"), offsets, data])
    assert column.to_pylist() == ["one two", None, "three four"]
    assert_agrees(column)


@pytest.mark.parametrize("size", range(0, 34))
def test_foreign_buffers_end_with_the_text(size: int) -> None:
    """No byte lies behind the last row, and what lies behind an earlier row is not part of it."""
    raw = (b"the # a.b {... x" * 3)[:size]
    offsets = pa.py_buffer(np.array([0, size // 3, size], np.int32))
    assert_agrees(pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(bytearray(raw))]))


def test_one_huge_line_and_one_huge_document() -> None:
    line = "word " * 60_000
    document = "\n".join(f"line {k % 977} says the same… or {k}." for k in range(20_000))
    assert_agrees(pa.array([line, "", document, None, "x" * 200_000]))


def test_chunks_and_no_rows() -> None:
    chunked = pa.chunked_array([["a b."], [], [None, "c\nc\nc"]], pa.string())
    whole = score_text(chunked.combine_chunks(), NAMES)
    for name, values in score_text(chunked, NAMES).items():
        np.testing.assert_array_equal(values, whole[name])
    assert all(len(values) == 0 for values in score_text(pa.array([], pa.string()), NAMES).values())
    assert all(len(values) == 2 for values in score_text(pa.nulls(2), NAMES).values())


def test_real_documents(data) -> None:  # type: ignore[no-untyped-def]
    texts = pq.read_table(data / "tech_docs.parquet", columns=["text"])["text"].combine_chunks()
    assert_agrees(texts.slice(40, 80))


def test_real_documents_in_twelve_languages(data) -> None:  # type: ignore[no-untyped-def]
    table = pq.read_table(data / "hplt_web_docs_human.parquet")
    texts = table["text"].combine_chunks()
    assert_agrees(texts.take(pa.array(np.arange(0, len(texts), 40))))


def test_language_is_py3langids(data) -> None:  # type: ignore[no-untyped-def]
    from py3langid.langid import LanguageIdentifier

    from curator.signals.language import LANGUAGES

    source = LanguageIdentifier.from_model_file("data/model.npz.xz", norm_probs=True)
    texts = pq.read_table(data / "hplt_web_docs_human.parquet")["text"].combine_chunks()
    texts = texts.take(pa.array(np.arange(0, len(texts), 24))).to_pylist()
    texts += ["ALL IN CAPITALS IS READ IN LOWER CASE", "cafe\u0301 au lait s'il vous plai\u0302t", "1234", "", None]
    found = score_text(pa.array(texts, pa.string()), ["language", "language_score"])
    for row, text in enumerate(texts):
        language, score = source.classify(text[:PREFIX_CHARS]) if text else (None, float("nan"))
        if np.isnan(found["language_score"][row]):
            assert not text or source._raw_score(source._encode(text)).max() == 0
            continue
        assert LANGUAGES[int(found["language"][row])] == language
        assert found["language_score"][row] == pytest.approx(score, abs=2e-3)


def test_an_unknown_signal_is_refused() -> None:
    with pytest.raises(ValueError, match="no signal 'num_wrods'"):
        score_text(pa.array(["a"]), ["num_wrods"])
    with pytest.raises(TypeError, match="int64"):
        score_text(pa.array([1]), ["num_words"])
