"""Shares of listed words are those of the slow twin; a list that cannot be used says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.errors import RecipeError
from curator.signals.text.word_list import listed_word_share, load_words
from tests.curator.duplicates.test_signatures import slow_words

LISTED = ("bad", "WORSE", "Übel", "悪", "x1")
PIECES = st.sampled_from(
    ["bad", "Bad", "badly", "worse", "übel", "ÜBEL", "悪", "悪い", "x1", "x 1", "good", ",", "\n", "_"]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.none(), st.lists(PIECES, max_size=20).map(" ".join), st.text(max_size=30)), max_size=5))
def test_shares_are_those_of_the_slow_twin(texts: list[str | None]) -> None:
    listed = {word.lower() for word in LISTED}
    column = pa.array(texts, pa.string())
    wanted = []
    for lower in pa.compute.utf8_lower(column).to_pylist():
        words = [word for word in slow_words(lower or "") if word]
        wanted.append(sum(word in listed for word in words) / len(words) if words else np.nan)
    found = listed_word_share(column, load_words(LISTED, ()))
    np.testing.assert_array_equal(found, np.array(wanted, np.float32))


def test_lists_come_from_files_and_thousands_are_found(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("# ours\n" + "".join(f"word{number} # why\n\n" for number in range(5_000)), encoding="utf-8")
    listed = load_words((), (str(path),))
    assert len(listed) == 5_000
    assert listed_word_share(pa.array(["Word17 or word5000", "ours", ""]), listed).tolist()[:2] == [
        pytest.approx(1 / 3),
        0.0,
    ]


def test_a_list_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("# nothing\n")
    for words, files, complaint in (
        ((), (), "the list is empty"),
        ((), (str(empty),), "found none in"),
        ((), (str(tmp_path / "none.txt"),), "cannot be read as UTF-8 text"),
        (("two words",), (), "'two words' in words is 2 words"),
        (("--",), (), "'--' in words is 0 words"),
    ):
        with pytest.raises(RecipeError, match=complaint):
            load_words(words, files)
