"""Every word the rules know by heart, as one table of hashes for kernels: exceptions, units, stop words.

Knows layouts; nothing of how a run is walked.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from curator.signals.text.bytescan import E0, E1, E8, hash_bytes, inlined
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

_SIZE = 4096


@lru_cache(maxsize=1)
def lexicon() -> np.ndarray:
    """uint64[4096, 2]: hash, what is known; hash 0 where free."""
    facts: dict[str, int] = {}
    for word, tokens in exceptions().items():
        facts[word] = sum(len(token.encode()) << (8 * k) for k, token in enumerate(tokens))
    for unit in UNITS:
        facts[unit] = facts.get(unit, 0) | int(UNIT)
    for place, word in enumerate(STOP_WORDS):
        facts[word] = facts.get(word, 0) | (place + 1) << int(STOP_SHIFT)
    table = np.zeros((_SIZE, 2), np.uint64)
    for word, fact in facts.items():
        raw = np.frombuffer(word.encode(), np.uint8)
        key = int(hash_bytes(raw, E0, np.uint64(len(raw))))
        at = (key >> 8) % _SIZE
        while table[at, 0]:
            at = (at + 1) % _SIZE
        table[at] = key, fact
    table.flags.writeable = False
    return table


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
    mask = np.uint64(table.shape[0] - 1)
    at = (key >> E8) & mask
    while table[at, 0] != E0:
        if table[at, 0] == key:
            return table[at, 1]
        at = (at + E1) & mask
    return E0
