"""Texts changed at random, word by word. A word is what stands between white space; what is left keeps its bytes.

Knows bytes and draws; nothing of labels, tokens or models. Whole columns at once.

Legend: B texts, R runs of all of them (each all white space or none), W words: the runs that are none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.training.augment import TextOperator, WordSwap
from pipelines.training.draws import Draws

__all__ = ["augmented_texts"]

_SPACE = np.isin(np.arange(256), np.frombuffer(b" \t\n\v\f\r", dtype=np.uint8))


def augmented_texts(
    texts: pa.Array, operators: Sequence[TextOperator], sample_ids: pa.Array, *, seed: int, step: int
) -> pa.Array:
    """Each operator in turn, on every row by the draws that are its own at this step. `texts`: strings without nulls;
    large_string[B] comes back."""
    for number, operator in enumerate(operators):
        draws, runs = Draws(seed, step, f"{number} {operator.kind}", sample_ids), _Runs(texts)
        chances_W = draws.parts("word", runs.words_B)
        changed = _swapped if isinstance(operator, WordSwap) else _kept
        texts = runs.taken(changed(runs, chances_W < operator.share, chances_W))
    return texts


def _kept(runs: _Runs, chosen_W: np.ndarray, chances_W: np.ndarray) -> np.ndarray:
    """The runs that are left: not the chosen words, nor the white space after them. Of a text that would lose all its
    words, the one with the largest chance is left."""
    filled = runs.words_B > 0
    firsts = (np.cumsum(runs.words_B) - runs.words_B)[filled]
    largest = np.maximum.reduceat(chances_W, firsts) if len(firsts) else chances_W
    kept_R = np.ones(len(runs.word_R), dtype=bool)
    kept_R[runs.word_R] = ~chosen_W | (chances_W == np.repeat(largest, runs.words_B[filled]))
    follows = np.flatnonzero(~runs.word_R[1:] & (runs.text_R[1:] == runs.text_R[:-1])) + 1
    kept_R[follows] = kept_R[follows - 1]
    return np.flatnonzero(kept_R)


def _swapped(runs: _Runs, chosen_W: np.ndarray, _: np.ndarray) -> np.ndarray:
    """All runs, some pairs of words in each other's place: word 2k of a text is chosen, and there is a word 2k + 1."""
    places_W = np.arange(len(chosen_W)) - np.repeat(np.cumsum(runs.words_B) - runs.words_B, runs.words_B)
    paired_W = (places_W % 2 == 0) & (places_W + 1 < np.repeat(runs.words_B, runs.words_B))
    words, first = np.flatnonzero(runs.word_R), np.flatnonzero(paired_W & chosen_W)
    order_R = np.arange(len(runs.word_R))
    order_R[words[first]], order_R[words[first + 1]] = words[first + 1], words[first]
    return order_R


class _Runs:
    """The runs of a column, in order."""

    def __init__(self, texts: pa.Array):
        array = pc.cast(texts, pa.large_binary())
        offsets = np.frombuffer(array.buffers()[1], dtype=np.int64)[array.offset : array.offset + len(array) + 1]
        whole = array.buffers()[2]
        self._data = np.frombuffer(b"" if whole is None else whole, dtype=np.uint8)[offsets[0] : offsets[-1]]
        space = _SPACE[self._data]
        begins = np.zeros(len(self._data), dtype=bool)
        begins[1:] = space[1:] != space[:-1]
        begins[(offsets[:-1] - offsets[0])[np.diff(offsets) > 0]] = True
        self._begins_R = np.flatnonzero(begins)
        self._sizes_R = np.diff(self._begins_R, append=len(self._data))
        self._num_texts = len(array)
        self.text_R = np.searchsorted(offsets[1:] - offsets[0], self._begins_R, side="right")
        """the text of each, int64[R]"""
        self.word_R = ~space[self._begins_R]
        self.words_B = np.bincount(self.text_R[self.word_R], minlength=self._num_texts)
        """words of each text, int64[B]"""

    def taken(self, runs: np.ndarray) -> pa.Array:
        """The texts that these runs make, those of a text before those of the next."""
        sizes = self._sizes_R[runs]
        ends = np.cumsum(sizes)
        places = np.arange(sizes.sum()) - np.repeat(ends - sizes, sizes)
        data = self._data[np.repeat(self._begins_R[runs], sizes) + places]
        bytes_B = np.bincount(self.text_R[runs], weights=sizes, minlength=self._num_texts).astype(np.int64)
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(bytes_B)])
        buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(data.tobytes())]
        return pa.Array.from_buffers(pa.large_string(), self._num_texts, buffers)
