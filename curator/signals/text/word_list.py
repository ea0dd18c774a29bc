"""How many words of a text stand in a list of any length, by their hashes. Knows words, not what becomes of a text."""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.duplicates.words import word_hashes
from curator.errors import RecipeError
from curator.signals.buffers import row_bytes
from curator.signals.text.bytescan import kernel
from curator.signals.text.unicode import char_classes

__all__ = ["listed_word_share", "load_words"]


@lru_cache(maxsize=2)
def load_words(words: tuple[str, ...], files: tuple[str, ...]) -> np.ndarray:
    """uint32[k], ascending: the hash of each listed word; of 4 billion pairs of words one shares a hash.

    Raises RecipeError for an empty list, a file that cannot be read, an entry that is not one word.
    """
    entries = [(word, "words") for word in words] + [(line, file) for file in files for line in _lines(file)]
    if not entries:
        raise RecipeError(
            "word_list: the list is empty; give words, or files with one word a line"
            + (f" (found none in {', '.join(files)})" if files else "")
        )
    found = np.empty(len(entries), np.uint32)
    for place, (word, source) in enumerate(entries):
        hashes = _hashes(word)
        if len(hashes) != 1:
            raise RecipeError(
                f"word_list: {word!r} in {source} is {len(hashes)} words; an entry is one run of letters and digits "
                "(and of scripts written without spaces one character)"
            )
        found[place] = hashes[0]
    return np.unique(found)


def listed_word_share(texts: pa.Array | pa.ChunkedArray, listed: np.ndarray) -> np.ndarray:
    """float32[n]: listed words per word; NaN where there is no word. listed: as `load_words` gives them."""
    rows = row_bytes(pc.utf8_lower(texts))
    most = int(np.diff(rows.offsets).max(initial=0)) + 1
    out = np.full(len(rows), np.nan, np.float32)
    passing = np.zeros(1 << 16, np.bool_)
    passing[listed >> np.uint32(16)] = True
    words = np.empty(most, np.uint32), np.empty(2 * most, np.uint64)
    _share(rows.data, rows.offsets, rows.valid, char_classes(), listed, passing, *words, out)
    return out


def _lines(file: str) -> list[str]:
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"word_list: {file} cannot be read as UTF-8 text: {error}") from error
    return [word for line in text.splitlines() if (word := line.split("#")[0].strip())]


def _hashes(word: str) -> list[int]:
    rows = row_bytes(pc.utf8_lower(pa.array([word])))
    words, bounds = np.empty(len(rows.data) + 1, np.uint32), np.empty(2 * len(rows.data) + 2, np.uint64)
    first, last = np.uint64(rows.offsets[0]), np.uint64(rows.offsets[1])
    return words[: word_hashes(rows.data, first, last, char_classes(), bounds, words)].tolist()


@kernel
def _share(data, offsets, valid, classes, listed, passing, words, bounds, out):
    for row in range(offsets.size - 1):
        if not valid[row]:
            continue
        start, stop = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        size = word_hashes(data, start, stop, classes, bounds, words)
        count = 0
        for word in words[:size]:
            if passing[word >> np.uint32(16)]:
                at = np.searchsorted(listed, word)
                count += at < listed.size and listed[at] == word
        if size:
            out[row] = count / size
