"""Texts changed word by word: against slow twins, never a byte that was not there, the same whatever the batch."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.training.augment import TextOperator, WordDropout, WordSwap
from pipelines.training.augment_texts import augmented_texts
from pipelines.training.draws import Draws
from tests.pipelines.training.test_draws import ids

TEXTS = st.lists(st.text(st.sampled_from("ab é\t\n\U0001f600"), max_size=30), min_size=1, max_size=8)
OPERATORS = st.lists(
    st.one_of(
        st.builds(WordDropout, share=st.floats(0, 0.99)),
        st.builds(WordSwap, share=st.floats(0, 1)),
    ),
    max_size=3,
)


def dropped(text: str, chances: list[float], share: float) -> str:
    """The twin, word by word."""
    before = re.match(r"[ \t\n\v\f\r]*", text)
    words = re.findall(r"([^ \t\n\v\f\r]+)([ \t\n\v\f\r]*)", text)
    assert before is not None
    left = [word + space for (word, space), chance in zip(words, chances, strict=True) if chance >= share]
    if words and not left:
        left = ["".join(words[int(np.argmax(chances))])]
    return before.group() + "".join(left)


def swapped(text: str, chances: list[float], share: float) -> str:
    runs = re.split(r"([ \t\n\v\f\r]+)", text)
    words = [place for place, run in enumerate(runs) if run and not run[0].isspace()]
    for number in range(0, len(words) - 1, 2):
        if chances[number] < share:
            first, second = words[number], words[number + 1]
            runs[first], runs[second] = runs[second], runs[first]
    return "".join(runs)


@given(TEXTS, st.sampled_from([WordDropout, WordSwap]), st.floats(0, 0.99), st.integers(0, 99))
def test_a_column_is_its_slow_twins(
    texts: list[str], kind: type[WordDropout] | type[WordSwap], share: float, step: int
) -> None:
    operator, rows = kind(share=share), ids(len(texts))
    found = augmented_texts(pa.array(texts), [operator], rows, seed=1, step=step).to_pylist()
    for row, text in enumerate(texts):
        number = len(re.findall(r"[^ \t\n\v\f\r]+", text))
        draws = Draws(1, step, f"0 {operator.kind}", rows.slice(row, 1))
        chances = draws.parts("word", np.array([number])).tolist()
        twin = dropped if kind is WordDropout else swapped
        assert found[row] == twin(text, chances, share)


@given(TEXTS, OPERATORS, st.data())
def test_rows_are_changed_alike_in_any_batch(
    texts: list[str], operators: list[TextOperator], data: st.DataObject
) -> None:
    rows, order = ids(len(texts)), data.draw(st.permutations(range(len(texts))))
    whole = augmented_texts(pa.array(texts), operators, rows, seed=7, step=3).to_pylist()
    cut = data.draw(st.integers(0, len(texts)))
    parts = [order[:cut], order[cut:]]
    column = pa.array(texts)
    for part in parts:
        taken = [
            augmented_texts(
                column.take(pa.array(part, pa.int64())),
                operators,
                rows.take(pa.array(part, pa.int64())),
                seed=7,
                step=3,
            )
        ]
        assert taken[0].to_pylist() == [whole[row] for row in part]


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_as_many_words_as_said(share: float) -> None:
    text = pa.array([" ".join(str(number) for number in range(2000))])
    left = augmented_texts(text, [WordDropout(share=share)], ids(1), seed=0, step=0)[0].as_py().split()
    assert abs(len(left) / 2000 - (1 - share)) < 0.05 and left == sorted(left, key=int)
    turned = augmented_texts(text, [WordSwap(share=share)], ids(1), seed=0, step=0)[0].as_py().split()
    moved = sum(word != str(number) for number, word in enumerate(turned)) / 2000
    assert sorted(turned, key=int) == text[0].as_py().split() and abs(moved - share) < 0.05


def test_a_slice_and_nothing_at_all() -> None:
    column = pa.array(["x", "a b c d", "", "e f"]).slice(1)
    found = augmented_texts(column, [WordSwap(share=1.0)], ids(4).slice(1), seed=0, step=0)
    assert found.to_pylist() == ["b a d c", "", "f e"]
    assert augmented_texts(pa.array([], pa.string()), [WordDropout()], ids(0), seed=0, step=0).to_pylist() == []
