"""MinHash signatures of texts: how similar two texts are can be read off two short rows of numbers.

Broder 1997. A word is a run of letters, marks and digits, ASCII capitals folded; characters of scripts written without
spaces are words of their own. A text of fewer words than a shingle has is one shingle of all its words; a text without
words has the signature of all ones, which resembles nothing. Knows nothing of pairs or clusters.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from curator.signals.buffers import row_bytes
from curator.signals.text.bytescan import E1, code_point, kernel
from curator.signals.text.unicode import SOLO, WORD, char_classes

__all__ = ["NO_WORDS", "band_hashes", "minhash"]

NO_WORDS: Final = 0xFFFFFFFF
"""What fills the signature of a text without words."""

_WORD_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHINGLE_PRIME = np.uint64(0xC2B2AE3D27D4EB4F)
_SHINGLE_SEED = np.uint64(0x2545F4914F6CDD1D)
_FIRST = np.uint32(NO_WORDS)


def minhash(texts: pa.Array | pa.ChunkedArray, *, num_perm: int, ngram: int, seed: int) -> np.ndarray:
    """uint32[n, num_perm]: the least hash of each text's `ngram`-word shingles under each of `num_perm` hash functions.

    The share of equal positions of two signatures estimates the Jaccard similarity of the shingle sets, with standard
    error sqrt(J (1 - J) / num_perm). Signatures compare only under equal num_perm, ngram and seed. Nulls have no words.
    """
    rows = row_bytes(texts)
    multipliers, offsets = _functions(num_perm, seed)
    signatures = np.full((len(rows), num_perm), NO_WORDS, np.uint32)
    most = int(np.diff(rows.offsets).max(initial=0))
    if most:
        _minhash(rows.data, rows.offsets, rows.valid, char_classes(), ngram, multipliers, offsets, signatures)
    return signatures


def band_hashes(signatures: np.ndarray, bands: int) -> np.ndarray:
    """uint64[n, bands]: one hash for each band of consecutive positions; equal bands, equal hashes.

    signatures: uint32[n, P] with P a multiple of `bands`, else ValueError. Texts without words get 0, others never do.
    """
    count, width = signatures.shape
    if bands < 1 or width % bands:
        raise ValueError(f"a signature of {width} numbers does not divide into {bands} bands")
    out = np.empty((count, bands), np.uint64)
    _bands(np.ascontiguousarray(signatures, np.uint32), width // bands, out)
    return out


def _functions(num_perm: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(odd multipliers, offsets), each uint32[num_perm]: x -> (x ^ offset) * multiplier is a bijection."""
    draws = np.random.Generator(np.random.PCG64([seed, 0x6D696E68])).integers(0, 2**32, (2, num_perm), np.uint32)
    return draws[0] | np.uint32(1), draws[1]


@kernel
def _word_hashes(data, start, stop, classes, words):
    """Fills the hash of each word of bytes start..stop; returns their number."""
    count = 0
    h = np.uint64(0)
    inside = False
    at = start
    while at < stop:
        byte = np.uint64(data[at])
        width = E1
        solo = False
        if byte < 0x80:
            if byte - np.uint64(0x41) < np.uint64(26):
                byte |= np.uint64(0x20)
            belongs = byte - np.uint64(0x61) < np.uint64(26) or byte - np.uint64(0x30) < np.uint64(10)
        else:
            cp, width = code_point(data, at)
            byte = np.uint64(cp)
            belongs = (classes[cp] & WORD) != 0
            solo = (classes[cp] & SOLO) != 0
        if inside and (solo or not belongs):
            words[count] = h ^ (h >> np.uint64(29))
            count += 1
            h = np.uint64(0)
            inside = False
        if belongs:
            h = (h ^ byte) * _WORD_PRIME
            inside = True
            if solo:
                words[count] = h ^ (h >> np.uint64(29))
                count += 1
                h = np.uint64(0)
                inside = False
        at += width
    if inside:
        words[count] = h ^ (h >> np.uint64(29))
        count += 1
    return count


@kernel
def _shingles(words, num_words, ngram, out):
    """Fills the 32-bit hash of each shingle; returns their number."""
    count = max(num_words - ngram + 1, 1) if num_words else 0
    for first in range(count):
        h = _SHINGLE_SEED
        for k in range(first, min(first + ngram, num_words)):
            h = (h ^ words[k]) * _SHINGLE_PRIME
            h ^= h >> np.uint64(31)
        out[first] = np.uint32(h >> np.uint64(32))
    return count


@kernel
def _least(shingles, num_shingles, multipliers, offsets, signature):
    for s in range(num_shingles):
        x = shingles[s]
        for p in range(signature.size):
            value = np.uint32(np.uint32(x ^ offsets[p]) * multipliers[p])
            value = np.uint32(value ^ np.uint32(value >> np.uint32(15)))
            signature[p] = min(value, signature[p])


@kernel
def _minhash(data, rows, valid, classes, ngram, multipliers, offsets, signatures):
    words = np.empty(0, np.uint64)
    shingles = np.empty(0, np.uint32)
    for row in range(rows.size - 1):
        start, stop = np.uint64(rows[row]), np.uint64(rows[row + 1])
        if not valid[row] or start == stop:
            continue
        if np.int64(stop - start) > words.size:
            words = np.empty(2 * np.int64(stop - start), np.uint64)
            shingles = np.empty(2 * np.int64(stop - start), np.uint32)
        count = _word_hashes(data, start, stop, classes, words)
        count = _shingles(words, count, ngram, shingles)
        _least(shingles, count, multipliers, offsets, signatures[row])


@kernel
def _bands(signatures, width, out):
    for row in range(out.shape[0]):
        wordless = True
        for value in signatures[row]:
            wordless = wordless and value == _FIRST
        for band in range(out.shape[1]):
            h = np.uint64(band + 1) * _SHINGLE_PRIME
            for k in range(band * width, band * width + width):
                h = (h ^ np.uint64(signatures[row, k])) * _WORD_PRIME
                h ^= h >> np.uint64(29)
            out[row, band] = np.uint64(0) if wordless else h | E1
