"""MinHash signatures of texts, by which similar ones meet, and the sets of shingles they are made of.

Broder 1997. A word is a run of letters, marks and digits, ASCII capitals folded; characters of scripts written without
spaces are words of their own. A text of fewer words than a shingle has is one shingle of all its words; a text without
words has the signature of all ones, which resembles nothing. Knows nothing of pairs or clusters.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from curator.duplicates.shingles import MOST_BYTES, ascending, factors, shingle_hashes, write_set
from curator.duplicates.words import word_hashes
from curator.signals.buffers import row_bytes
from curator.signals.text.bytescan import E1, inner, kernel
from curator.signals.text.unicode import char_classes

__all__ = ["NO_WORDS", "Signed", "band_hashes", "minhash"]

NO_WORDS: Final = 0xFFFFFFFF
"""What fills the signature of a text without words."""

_WORD_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHINGLE_PRIME = np.uint64(0xC2B2AE3D27D4EB4F)
_FIRST = np.uint32(NO_WORDS)


class Signed(NamedTuple):
    """Of n texts: the signatures uint32[n, P], and the sets of shingles large_binary[n] as `shingles` writes them."""

    signatures: np.ndarray
    sets: pa.LargeBinaryArray


def minhash(texts: pa.Array | pa.ChunkedArray, *, num_perm: int, ngram: int, seed: int) -> Signed:
    """Signatures: the least hash of each text's `ngram`-word shingles under each of `num_perm` hash functions. And the
    sets of those shingles, which do not depend on the seed.

    The share of equal positions of two signatures estimates the Jaccard similarity of the shingle sets, with standard
    error sqrt(J (1 - J) / num_perm). Signatures compare only under equal num_perm, ngram and seed. Nulls have no words.
    """
    rows = row_bytes(texts)
    signatures = np.full((len(rows), num_perm), NO_WORDS, np.uint32)
    ends = np.zeros(len(rows) + 1, np.int64)
    sets = _minhash(
        rows.data,
        rows.offsets,
        rows.valid,
        char_classes(),
        factors(ngram),
        *_functions(num_perm, seed),
        signatures,
        ends,
    )
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(sets)]
    return Signed(signatures, pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(rows), buffers))


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


@inner
def _least(shingles, count, multipliers, offsets, signature):
    """Four shingles at a time, so that a function's numbers are loaded once for them. The last four may overlap."""
    if count < 4:
        for s in range(count):
            _lower(shingles[s], shingles[s], shingles[s], shingles[s], multipliers, offsets, signature)
        return
    for block in range((count + 3) // 4):
        s = min(4 * block, count - 4)
        _lower(shingles[s], shingles[s + 1], shingles[s + 2], shingles[s + 3], multipliers, offsets, signature)


@inner
def _lower(w, x, y, z, multipliers, offsets, signature):
    for p in range(signature.size):
        factor, offset = multipliers[p], offsets[p]
        a = min(np.uint32(np.uint32(w ^ offset) * factor), np.uint32(np.uint32(x ^ offset) * factor))
        b = min(np.uint32(np.uint32(y ^ offset) * factor), np.uint32(np.uint32(z ^ offset) * factor))
        signature[p] = min(min(a, b), signature[p])


@kernel
def _minhash(data, rows, valid, classes, factors, multipliers, offsets, signatures, ends):
    """Fills the signatures and where each row's set ends; returns the sets, one after another."""
    bounds = np.empty(0, np.uint64)
    words = np.empty(0, np.uint32)
    shingles = np.empty(0, np.uint32)
    places = np.empty(512, np.uint64)
    sets = np.empty(np.int64(rows[-1] - rows[0]) // 4, np.uint8)
    end = 0
    for row in range(rows.size - 1):
        start, stop = np.uint64(rows[row]), np.uint64(rows[row + 1])
        if valid[row] and start != stop:
            if np.int64(stop - start) > words.size:
                room = 2 * np.int64(stop - start)
                bounds = np.empty(2 * room, np.uint64)
                words = np.empty(room, np.uint32)
                shingles = np.empty(room, np.uint32)
            count = word_hashes(data, start, stop, classes, bounds, words)
            count = shingle_hashes(words, count, factors.size, factors, shingles)
            count = ascending(shingles, count, words, places)
            _least(shingles, count, multipliers, offsets, signatures[row])
            most = end + 2 + MOST_BYTES * count
            if most > sets.size:
                wider = np.empty(2 * most, np.uint8)
                wider[:end] = sets[:end]
                sets = wider
            end = write_set(shingles, count, sets, end)
        ends[row + 1] = end
    return sets[:end].copy()


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
