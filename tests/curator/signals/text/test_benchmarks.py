"""What texts share with benchmarks is what comparing every sequence of words shares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.errors import RecipeError
from curator.signals.text.benchmarks import benchmark_signals, load_benchmarks
from tests.curator.duplicates.test_signatures import slow_words

WORDS = st.lists(st.sampled_from(["a", "B,", "é", "你好", "x1", "-", "\n"]), max_size=30).map(" ".join)


def slow_grams(text: str | None, ngram: int) -> list[tuple[str, ...]]:
    words = [word for word in slow_words(text or "") if word]
    return [tuple(words[at : at + ngram]) for at in range(len(words) - ngram + 1)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), WORDS), max_size=6), st.lists(st.one_of(st.none(), WORDS), max_size=6))
def test_shared_sequences_are_those_of_the_slow_twin(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str | None], benchmark: list[str | None]
) -> None:
    path = tmp_path_factory.mktemp("benchmark") / "b.parquet"
    pq.write_table(pa.table({"text": pa.array([*benchmark, "q w e r t y"], pa.string())}), path)
    found = benchmark_signals(pa.array(texts, pa.string()), load_benchmarks((str(path),), "text", 5))
    first: dict[tuple[str, ...], int] = {}
    for row, text in enumerate(benchmark):
        for gram in slow_grams(text, 5):
            first.setdefault(gram, row)
    for place, text in enumerate(texts):
        shared = [first[gram] for gram in slow_grams(text, 5) if gram in first]
        wanted = [np.nan] * 3 if text is None else [len(shared), *([0, shared[0]] if shared else [np.nan] * 2)]
        np.testing.assert_array_equal([column[place] for column in found.values()], wanted)


def test_what_cannot_be_looked_for_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "b.parquet")
    pq.write_table(pa.table({"question": ["a"], "number": [1]}), path)
    with pytest.raises(RecipeError, match="files is empty"):
        load_benchmarks((), "text", 13)
    with pytest.raises(RecipeError, match=r"no column 'text' to look for; set `column` to one of question, number"):
        load_benchmarks((path,), "text", 13)
    with pytest.raises(RecipeError, match="int64 in column 'number'"):
        load_benchmarks((path,), "number", 13)
