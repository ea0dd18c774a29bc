"""Every word the rules know by heart, as one table of hashes for kernels: exceptions, units, stop words.

Knows layouts; nothing of how a run is walked.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from curator.signals.text.bytescan import E0, E8, hash_bytes, inlined
from curator.signals.text.english.exceptions import UNITS, exceptions

__all__ = ["LONGEST_EXCEPTION", "MOST_PARTS", "PARTS", "STOP_SHIFT", "STOP_WORDS", "UNIT", "edges", "known", "lexicon"]

STOP_WORDS: Final = ("the", "be", "to", "of", "and", "that", "have", "with")
"""English stop words of MassiveText (Rae et al. 2021, section A1.1); matched as they stand, case included."""

MOST_PARTS: Final = 4
LONGEST_EXCEPTION: Final = 32
"""Bytes; a longer run is none."""
PARTS: Final = np.uint64(0xFFFFFFFF)
"""Of what is known: four bytes, the bytes of each token of an exception; 0 for a word that is none."""
UNIT: Final = np.uint64(1 << 32)
STOP_SHIFT: Final = np.uint64(33)
"""Above it: one more than the place among STOP_WORDS."""

_HALF = 2048
_PLACE = np.uint64(_HALF - 1)
_SECOND = np.uint64(_HALF)
_UPPER = np.uint64(32)


@lru_cache(maxsize=1)
def lexicon() -> np.ndarray:
    """uint64[4096, 2]: hash, what is known; hash 0 where free. A word lies in one of two places, one in each half, so
    that a look-up has no branch (cuckoo hashing, Pagh & Rodler 2004)."""
    facts: dict[str, int] = {}
    for word, tokens in exceptions().items():
        facts[word] = sum(len(token.encode()) << (8 * k) for k, token in enumerate(tokens))
    for unit in UNITS:
        facts[unit] = facts.get(unit, 0) | int(UNIT)
    for place, word in enumerate(STOP_WORDS):
        facts[word] = facts.get(word, 0) | (place + 1) << int(STOP_SHIFT)
    table = np.zeros((2 * _HALF, 2), np.uint64)
    for word, fact in facts.items():
        raw = np.frombuffer(word.encode(), np.uint8)
        _add(table, int(hash_bytes(raw, E0, np.uint64(len(raw)))), fact)
    table.flags.writeable = False
    return table


def _add(table: np.ndarray, key: int, fact: int) -> None:
    """Puts a word into its place in either half; whoever was there moves to the place in the other."""
    half = 0
    for _ in range(len(table)):
        at = (key >> 8) % _HALF if half == 0 else _HALF + (key >> 32) % _HALF
        (old_key, old_fact), table[at] = table[at].tolist(), (key, fact)
        if old_key == 0:
            return
        key, fact, half = old_key, old_fact, 1 - half
    raise RuntimeError(f"the lexicon of {len(table)} places is too full for its words; make it larger")


@lru_cache(maxsize=1)
def edges() -> np.ndarray:
    """bool[65536]: whether any exception begins with byte k // 256 and ends with byte k % 256; most runs fit none."""
    table = np.zeros(65536, np.bool_)
    for word in exceptions():
        raw = word.encode()
        table[256 * raw[0] + raw[-1]] = True
    table.flags.writeable = False
    return table


@inlined
def known(key, table):
    """What is known of the word with this hash; 0 for nothing."""
    first, second = (key >> E8) & _PLACE, _SECOND + ((key >> _UPPER) & _PLACE)
    here, there = np.uint64(table[first, 0] == key), np.uint64(table[second, 0] == key)
    return here * table[first, 1] | there * table[second, 1]
