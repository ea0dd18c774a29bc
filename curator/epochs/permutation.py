"""Keyed permutations of [0, n) by formula: any element without the others, and the inverse.

A cycle-walking Feistel network (Black and Rogaway 2002, "Ciphers with arbitrary finite domains"): a bijection on
the next power of two, repeated until the value falls below n, under two rounds of walking on average.
For shuffling, not for secrecy. Knows nothing of epochs or rows.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

import numpy as np

__all__ = ["derive_key", "invert", "mix64", "permute", "permute_slow"]

ROUNDS: Final = 8  # even, so that the two unequal halves end where they began
BLOCK: Final = 16_384
TABLE_BITS: Final = 16
"""Widest half whose round function is tabulated: 16 bits are numbers below 2^32, and a megabyte for all rounds."""
TABLES: Final = 16  # kept: a plan uses three keys in every epoch and some more in each
_GOLDEN: Final = 0x9E3779B97F4A7C15
_C1: Final = 0xBF58476D1CE4E5B9
_C2: Final = 0x94D049BB133111EB
_MASK: Final = (1 << 64) - 1

Key = int | np.ndarray
"""64 bits: one int for all elements, or uint64[m], one an element."""


def derive_key(seed: int, *parts: int | str) -> int:
    """A 64-bit key from a seed and whatever names the use: equal words, equal key; SHA-256 of their text."""
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def mix64(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014) on uint64[m]; a bijection of 64-bit words."""
    z = x + np.uint64(_GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_C1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_C2)
    return z ^ (z >> np.uint64(31))


def permute(index: np.ndarray, n: int, key: Key) -> np.ndarray:
    """Where each element of [0, n) goes. index: int64[m] in [0, n). Returns int64[m]; raises ValueError outside."""
    return _walk(index, n, key, inverse=False)


def invert(value: np.ndarray, n: int, key: Key) -> np.ndarray:
    """The index that `permute` sends to each value. value: int64[m] in [0, n). Returns int64[m]."""
    return _walk(value, n, key, inverse=True)


def _walk(index: np.ndarray, n: int, key: Key, *, inverse: bool) -> np.ndarray:
    x = np.asarray(index, dtype=np.int64)
    if x.size == 0:
        return x.copy()
    if x.min() < 0 or x.max() >= n:
        raise ValueError(f"index {int(x.min())} to {int(x.max())} outside [0, {n})")
    bits = (n - 1).bit_length()
    half = bits - bits // 2
    if isinstance(key, int) and half <= TABLE_BITS and 8 * x.size >= 1 << half and not inverse:
        keys, step = list(_tables(key, bits)), _feistel_tabulated
    else:
        keys, step = _round_keys(key), _feistel_inverse if inverse else _feistel
    out = x.astype(np.uint64)
    for low in range(0, len(out), BLOCK):  # the rounds go over a block while it lies in the processor's cache
        part = slice(low, low + BLOCK)
        mine = [k[part] for k in keys] if isinstance(key, np.ndarray) else keys
        values = step(out[part], bits, mine)
        outside = np.flatnonzero(values >= np.uint64(n))
        while outside.size:
            again = step(values[outside], bits, [k[outside] for k in mine] if isinstance(key, np.ndarray) else mine)
            values[outside] = again
            outside = outside[again >= np.uint64(n)]
        out[part] = values
    return out.astype(np.int64)


def _round_keys(key: Key) -> list[np.ndarray]:
    """One key a round: the rounds of an array key are mixed elementwise."""
    if isinstance(key, int):
        return [np.array(_mix64_int((key + r * _GOLDEN) & _MASK), dtype=np.uint64) for r in range(ROUNDS)]
    return [mix64(key + np.array(r * _GOLDEN & _MASK, dtype=np.uint64)) for r in range(ROUNDS)]


def _scramble(x: np.ndarray, scratch: np.ndarray) -> np.ndarray:
    """The round function on uint64[m] already mixed with the key, in place; its low bits depend on all of x."""
    x *= np.uint64(_C1)
    x ^= np.right_shift(x, np.uint64(32), out=scratch)
    x *= np.uint64(_C2)
    x ^= np.right_shift(x, np.uint64(29), out=scratch)
    return x


def _feistel(x: np.ndarray, bits: int, keys: list[np.ndarray]) -> np.ndarray:
    """All rounds: each swaps the halves and mixes the one into the other. Even in number, so the split ends as it
    began."""
    left = bits // 2
    right = bits - left
    low, high = x & np.uint64((1 << right) - 1), x >> np.uint64(right)
    mixed, scratch = np.empty_like(x), np.empty_like(x)
    widths = (left, right)
    for number, key in enumerate(keys):
        np.bitwise_xor(low, key, out=mixed)
        _scramble(mixed, scratch)
        mixed &= np.uint64((1 << widths[number % 2]) - 1)
        high ^= mixed
        low, high = high, low
    high <<= np.uint64(right)
    high |= low
    return high


@lru_cache(maxsize=TABLES)
def _tables(key: int, bits: int) -> tuple[np.ndarray, ...]:
    """What each round mixes in, by the half it comes from: uint16[2^left] and uint16[2^right] in turn."""
    left = bits // 2
    right = bits - left
    tables = []
    for number, round_key in enumerate(_round_keys(key)):
        source, target = (right, left) if number % 2 == 0 else (left, right)
        mixed = np.arange(1 << source, dtype=np.uint64) ^ round_key
        _scramble(mixed, np.empty_like(mixed))
        tables.append((mixed & np.uint64((1 << target) - 1)).astype(np.uint16))
    return tuple(tables)


def _feistel_tabulated(x: np.ndarray, bits: int, keys: list[np.ndarray]) -> np.ndarray:
    """As `_feistel`, with `_tables` for keys: a look-up instead of two multiplications a round."""
    right = bits - bits // 2
    low, high = (x & np.uint64((1 << right) - 1)).astype(np.uint16), (x >> np.uint64(right)).astype(np.uint16)
    for table in keys:
        high ^= table.take(low)
        low, high = high, low
    return high.astype(np.uint64) << np.uint64(right) | low


def _feistel_inverse(x: np.ndarray, bits: int, keys: list[np.ndarray]) -> np.ndarray:
    left = bits // 2 if ROUNDS % 2 == 0 else bits - bits // 2
    for key in reversed(keys):
        left = bits - left  # the split this round began with
        right = bits - left
        low = x >> np.uint64(left)
        high = (x ^ _scramble(low ^ key, np.empty_like(low))) & np.uint64((1 << left) - 1)
        x = (high << np.uint64(right)) | low
    return x


def _mix64_int(x: int) -> int:
    z = (x + _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * _C1) & _MASK
    z = ((z ^ (z >> 27)) * _C2) & _MASK
    return z ^ (z >> 31)


def permute_slow(index: int, n: int, key: int) -> int:
    """`permute` for one element in plain Python integers: the slow twin, for tests."""
    bits = (n - 1).bit_length()
    x = index
    while True:
        left = bits // 2
        for r in range(ROUNDS):
            right = bits - left
            low, high = x & ((1 << right) - 1), x >> right
            z = ((low ^ _mix64_int((key + r * _GOLDEN) & _MASK)) * _C1) & _MASK
            z = ((z ^ (z >> 32)) * _C2) & _MASK
            z ^= z >> 29
            x = (low << left) | (high ^ (z & ((1 << left) - 1)))
            left = right
        if x < n:
            return x
