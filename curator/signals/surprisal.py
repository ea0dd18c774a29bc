"""How surprising a text is, in bits per byte, to a small model of bytes fitted on texts like it.

Counts of byte n-grams up to order 5 in hashed tables of fixed size, interpolated from short to long contexts. Knows
bytes; nothing of words, languages or what the number is used for.

The probability of byte b after the last k bytes c mixes with that of one byte less of context (Dirichlet smoothing,
MacKay & Peto 1995):

    p_k(b | c) = (n(c b) + A p_{k-1}(b)) / (n(c) + A),    p_{-1} = 1/256,    A = 2

Every count saturates instead of wrapping, and adding is all that fitting does, so the order of texts is free. Hash
collisions only blur counts: n(c b) is capped at n(c), which keeps every p in (0, 1].
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from curator.errors import IntegrityError
from curator.signals.buffers import RowBytes, row_bytes
from curator.signals.text.bytescan import inner, kernel

__all__ = ["SurprisalModel"]

ORDER: Final = 5
"""Bytes in the longest n-gram: four of context and the one foretold."""
PIECES: Final = 8
PIECE_BYTES: Final = 256
"""Of a text longer than eight pieces as many are scored, spread evenly from its first byte to its last. Over documents
of 5 kB the outcome correlates with that of all bytes by 0.99, and no document moves by more than one third."""

_VERSION: Final = 1
_MAGIC: Final = b"winnow-surprisal"
_SMOOTHING = 2.0
_GRAM_BITS = np.array([16, 18, 20, 20], np.uint64)  # table sizes by length of context, 1 to 4 bytes
_CONTEXT_BITS = np.array([8, 16, 18, 18], np.uint64)
_GRAM_START = np.concatenate([[0], np.cumsum(1 << _GRAM_BITS.astype(np.int64))]).astype(np.uint64)
_CONTEXT_START = np.concatenate([[0], np.cumsum(1 << _CONTEXT_BITS.astype(np.int64))]).astype(np.uint64)
_SHAPES = ((np.uint32, int(_GRAM_START[-1])), (np.uint32, int(_CONTEXT_START[-1])), (np.uint64, 256))
_MIX = np.uint64(0x9E3779B97F4A7C15)
_BYTES = np.uint64(8)
_TINY = 2.0**-900


class SurprisalModel:
    """A fitted model: 12 MB whatever it was fitted on; equal texts and seed give equal bytes, in any order.

    grams: uint32, counts of n-grams of 2 to 5 bytes, one table after the other; contexts: uint32, counts of their
    contexts; singles: uint64[256], counts of bytes. Tables too small for all keys are hashed.
    """

    def __init__(self, seed: int, grams: np.ndarray, contexts: np.ndarray, singles: np.ndarray):
        self.seed, self._grams, self._contexts, self._singles = seed, grams, contexts, singles

    @classmethod
    def fit(cls, texts: pa.Array | pa.ChunkedArray | Sequence[pa.Array], seed: int) -> SurprisalModel:
        """Counts every text (string or binary; nulls are nothing). seed, below 2^63, chooses the hash function."""
        model = cls(seed, *(np.zeros(size, dtype) for dtype, size in _SHAPES))
        for column in texts if isinstance(texts, Sequence) else (texts,):
            rows = row_bytes(column)
            _count(*_arguments(rows), _salt(seed), model._grams, model._contexts, model._singles)
        return model

    @property
    def num_bytes(self) -> int:
        """Of text that it was fitted on."""
        return int(self._singles.sum())

    def score(self, texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """float32[n]: mean bits per byte of each text, NaN for null and empty ones; 8 is no better than guessing.

        Of a long text PIECES pieces are read, each byte with the bytes before it as context. A text that was among
        those fitted looks easier than it is; the less so the more texts there were.
        """
        rows = row_bytes(texts)
        out = np.empty(len(rows), np.float32)
        _score(*_arguments(rows), _salt(self.seed), self._grams, self._contexts, self._singles, out)
        return out

    def to_bytes(self) -> bytes:
        """The model as one value; `from_bytes` gives it back exactly."""
        header = json.dumps({"version": _VERSION, "order": ORDER, "seed": self.seed}).encode()
        arrays = b"".join(array.tobytes() for array in (self._grams, self._contexts, self._singles))
        return _MAGIC + len(header).to_bytes(4, "little") + header + arrays

    @classmethod
    def from_bytes(cls, data: bytes) -> SurprisalModel:
        """The inverse of `to_bytes`. Raises IntegrityError on bytes of another kind, version or length."""
        start = len(_MAGIC) + 4
        if data[: len(_MAGIC)] != _MAGIC:
            raise IntegrityError("these bytes are not a surprisal model; fit one anew")
        end = start + int.from_bytes(data[len(_MAGIC) : start], "little")
        header = json.loads(data[start:end])
        if (header["version"], header["order"]) != (_VERSION, ORDER):
            raise IntegrityError(
                f"surprisal model of version {header['version']}, this code reads {_VERSION}; fit it anew"
            )
        expected = sum(np.dtype(dtype).itemsize * size for dtype, size in _SHAPES)
        if len(data) - end != expected:
            raise IntegrityError(f"surprisal model of {len(data) - end} bytes, not {expected}: cut off; fit it anew")
        arrays = []
        for dtype, size in _SHAPES:
            arrays.append(np.frombuffer(data, dtype, size, end))
            end += arrays[-1].nbytes
        return cls(header["seed"], *arrays)


def _arguments(rows: RowBytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rows.data, rows.offsets, rows.valid


def _salt(seed: int) -> np.uint64:
    return np.random.PCG64([seed, 0x73757270]).random_raw(1)[0] | np.uint64(1)


@inner
def _slot(key, num_bytes, bits, salt):
    """Place of an n-gram of `num_bytes` in a table of 2^bits: itself where there is room for all, else its hash."""
    if bits == _BYTES * num_bytes:
        return key
    h = (key + salt) * _MIX
    return ((h ^ (h >> np.uint64(32))) * _MIX) >> (np.uint64(64) - bits)


@inner
def _slots(recent, byte, k, salt):
    """(place in contexts, place in grams) of the last k bytes and of these with `byte`."""
    size, table = np.uint64(k), np.uint64(k - 1)
    context = recent & ((np.uint64(1) << (_BYTES * size)) - np.uint64(1))
    gram = (context << _BYTES) | np.uint64(byte)
    at = _CONTEXT_START[table] + _slot(context, size, _CONTEXT_BITS[table], salt)
    return at, _GRAM_START[table] + _slot(gram, size + np.uint64(1), _GRAM_BITS[table], salt)


@kernel
def _count(data, offsets, valid, salt, grams, contexts, singles):
    most = np.uint32(0xFFFFFFFF)
    for row in range(offsets.size - 1):
        if not valid[row]:
            continue
        recent = np.uint64(0)
        for byte in data[offsets[row] : offsets[row + 1]]:
            singles[byte] += np.uint64(1)
            for k in range(1, ORDER):
                context, gram = _slots(recent, byte, k, salt)
                contexts[context] += np.uint32(contexts[context] < most)
                grams[gram] += np.uint32(grams[gram] < most)
            recent = (recent << _BYTES) | np.uint64(byte)


@kernel
def _score(data, offsets, valid, salt, grams, contexts, singles, out):
    total = np.float64(singles.sum())
    base = (singles.astype(np.float64) + _SMOOTHING / 256) / (total + _SMOOTHING)
    for row in range(offsets.size - 1):
        start, size = offsets[row], offsets[row + 1] - offsets[row]
        if not valid[row] or size == 0:
            out[row] = np.nan
            continue
        num_pieces, length = (PIECES, PIECE_BYTES) if size > PIECES * PIECE_BYTES else (1, size)
        bits = 0.0
        for piece in range(num_pieces):
            first = start + (size - length) * piece // max(1, num_pieces - 1)
            before = data[max(start, first - (ORDER - 1)) : first]
            bits += _bits(before, data[first : first + length], base, salt, grams, contexts)
        out[row] = bits / (num_pieces * length)


@inner
def _bits(before, piece, base, salt, grams, contexts):
    """Bits of all bytes of a piece, given the bytes before it."""
    recent = np.uint64(0)
    for byte in before:
        recent = (recent << _BYTES) | np.uint64(byte)
    bits = 0.0
    product = 1.0  # a logarithm for many bytes at a time
    for byte in piece:
        chance = base[byte]
        for k in range(1, ORDER):
            context, gram = _slots(recent, byte, k, salt)
            seen = contexts[context]
            if seen == 0:
                break  # longer contexts were not seen either
            chance = (min(grams[gram], seen) + _SMOOTHING * chance) / (seen + _SMOOTHING)
        product *= chance
        if product < _TINY:
            bits -= np.log2(product)
            product = 1.0
        recent = (recent << _BYTES) | np.uint64(byte)
    return bits - np.log2(product)
