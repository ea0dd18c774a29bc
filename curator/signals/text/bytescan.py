"""Eight bytes at a time: the loads, counts and hashes every text kernel is made of.

Knows bytes and UTF-8; nothing of words, lines or signals. All positions are uint64 (mixing them with int64 would turn
arithmetic into floats in numba); no load ever leaves the buffer.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

__all__ = [
    "E0",
    "E1",
    "E8",
    "HIGHS",
    "ONES",
    "byte_equal",
    "code_point",
    "count_chars",
    "empty_table",
    "first_byte",
    "first_equal",
    "hash_bytes",
    "hash_near",
    "inlined",
    "inner",
    "kernel",
    "lean",
    "load_word",
    "popcount",
    "space_width",
    "store_word",
    "strip_left",
    "strip_right",
    "table_size",
    "trailing_zeros",
]

KERNELS = Path(__file__).parents[1], Path(__file__).parents[2] / "duplicates"
"""Where kernels lie."""


@cache
def _sources() -> str:
    """A digest of everything a kernel may be made of: numba compares the file of the kernel itself, not of those it
    calls, and would go on with what those were when it compiled them."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in KERNELS for path in folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _once_for_constants(made: Any) -> None:
    """One kernel for every constant that callers pass: numba would compile one for each, and twice where a counter that
    begins at 0 goes in. LLVM folds constants into what it inlines all the same."""
    template_of = made.get_call_template

    def plain(args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        return template_of(tuple(map(types.unliteral, args)), {name: types.unliteral(kws[name]) for name in kws})

    made.get_call_template = plain


def _compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    def decorate(function: Callable[..., Any]) -> Any:
        made = njit(nogil=True, cache=True, no_cfunc_wrapper=True, **options)(function)
        with suppress(AttributeError):  # names of numba's own; without them its rule alone holds
            index = made._cache._cache_file
            index._source_stamp = index._source_stamp, _sources()
        _once_for_constants(made)
        return made

    return decorate


kernel = _compiled()
"""Decorates a compiled function: it holds no GIL and is compiled once a machine, and again when a kernel changes."""

lean = _compiled(_nrt=False)
"""A kernel that allocates nothing, so that it need not count references to its arrays: counting costs a call 50 ns, ten
times what a short word does. A lean kernel calls inner kernels."""

inner = _compiled(_nrt=False, no_cpython_wrapper=True)
"""A lean kernel that kernels alone call, Python never: without what Python would need it compiles in less time."""

inlined = _compiled(_nrt=False, no_cpython_wrapper=True, forceinline=True)
"""An inner kernel that becomes part of its callers."""

U = np.uint64
E0, E1, E8 = U(0), U(1), U(8)
ONES = U(0x0101010101010101)
HIGHS = U(0x8080808080808080)
_PRIME = U(0x9E3779B97F4A7C15)
_PRIME2 = U(0xC2B2AE3D27D4EB4F)
_ALL = U(0xFFFFFFFFFFFFFFFF)
_SEED = U(0x51ED270B9F6A1D3B)


@intrinsic
def _load8(typing_context, array, index):
    """An unaligned little-endian uint64 load; the caller has checked the bounds."""

    def generate(context, builder, signature, arguments):
        view = context.make_array(array)(context, builder, arguments[0])
        pointer = builder.bitcast(builder.gep(view.data, [arguments[1]]), ir.IntType(64).as_pointer())
        value = builder.load(pointer)
        value.align = 1
        return value

    return types.uint64(array, index), generate


@intrinsic
def store_word(typing_context, array, index, word):
    """An unaligned little-endian uint64 store; the caller has checked the bounds."""

    def generate(context, builder, signature, arguments):
        view = context.make_array(array)(context, builder, arguments[0])
        pointer = builder.bitcast(builder.gep(view.data, [arguments[1]]), ir.IntType(64).as_pointer())
        builder.store(arguments[2], pointer).align = 1
        return context.get_dummy_value()

    return types.none(array, index, word), generate


@intrinsic
def popcount(typing_context, word):
    """Number of set bits of a uint64."""
    return types.uint64(types.uint64), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


@intrinsic
def trailing_zeros(typing_context, word):
    """Position of the lowest set bit of a uint64; 64 where none is."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@inner
def load_word(data, start, stop):
    """Bytes start..min(start + 8, stop), the first in the lowest byte, zeros beyond stop."""
    left = stop - start
    if start + E8 <= U(data.size):
        word = _load8(data, start)
        if left < E8:
            word &= (E1 << (left * E8)) - E1
        return word
    word = E0
    for k in range(min(left, E8)):
        word |= U(data[start + U(k)]) << (U(k) * E8)
    return word


@inner
def first_byte(flags):
    """Position 0..7 of the lowest byte whose high bit is set; flags must not be 0."""
    return trailing_zeros(flags) >> U(3)


@inner
def byte_equal(word, pattern):
    """High bit of each byte of `word` equal to that of `pattern`; exact for every byte."""
    x = word ^ pattern
    return ~(((x & ~HIGHS) + ~HIGHS) | x | ~HIGHS)


@inner
def count_chars(data, start, stop):
    """Code points of UTF-8 bytes start..stop: bytes that do not continue a character."""
    count = stop - start
    while start + U(32) <= stop:
        a, b = _load8(data, start), _load8(data, start + E8)
        c, d = _load8(data, start + U(16)), _load8(data, start + U(24))
        if (a | b | c | d) & HIGHS:
            break
        start += U(32)
    while start < stop:
        word = load_word(data, start, stop)
        count -= popcount((word >> U(7)) & (~(word >> U(6))) & ONES)
        start += E8
    return count


@lean
def hash_bytes(data, start, stop):
    """64-bit hash of bytes start..stop, never 0."""
    size = stop - start
    if stop + E8 <= U(data.size):
        return hash_near(data, start, size)
    h = _SEED
    while start < stop:
        h = (h ^ load_word(data, start, stop)) * _PRIME
        h ^= h >> U(32)
        start += E8
    h = (h ^ size) * _PRIME2
    return (h ^ (h >> U(29))) | E1


@inlined
def hash_near(data, start, size):
    """`hash_bytes` of `size` bytes, which must lie at least eight bytes before the data's end."""
    h = _SEED
    left = size
    while left > E8:
        h = (h ^ _load8(data, start)) * _PRIME
        h ^= h >> U(32)
        start += E8
        left -= E8
    if left:
        h = (h ^ (_load8(data, start) & (_ALL >> (U(64) - left * E8)))) * _PRIME
        h ^= h >> U(32)
    h = (h ^ size) * _PRIME2
    return (h ^ (h >> U(29))) | E1


@inner
def code_point(data, at):
    """(code point, bytes) of the UTF-8 character at `at`; a broken sequence is U+FFFD of one byte."""
    left = U(data.size) - at
    b = np.int64(data[at])
    if b < 0x80:
        return b, E1
    if 0xC2 <= b < 0xE0 and left >= U(2):
        return ((b & 31) << 6) | (np.int64(data[at + E1]) & 63), U(2)
    if 0xE0 <= b < 0xF0 and left >= U(3):
        return ((b & 15) << 12) | ((np.int64(data[at + E1]) & 63) << 6) | (np.int64(data[at + U(2)]) & 63), U(3)
    if 0xF0 <= b < 0xF5 and left >= U(4):
        high = ((b & 7) << 18) | ((np.int64(data[at + E1]) & 63) << 12)
        cp = high | ((np.int64(data[at + U(2)]) & 63) << 6) | (np.int64(data[at + U(3)]) & 63)
        return min(cp, 0x10FFFF), U(4)
    return 0xFFFD, E1


@inner
def space_width(data, at, stop):
    """Bytes of the whitespace character (`str.isspace`) at `at`; 0 where there is none."""
    b = data[at]
    if b <= 32:
        return E1 if b == 32 or 9 <= b <= 13 or b >= 28 else E0
    if b < 0xC2:
        return E0
    left = stop - at
    if b == 0xC2 and left >= U(2):
        return U(2) if data[at + E1] == 0x85 or data[at + E1] == 0xA0 else E0
    if b < 0xE1 or b > 0xE3 or left < U(3):
        return E0
    x, y = data[at + E1], data[at + U(2)]
    wide = b == 0xE1 and x == 0x9A and y == 0x80
    wide |= b == 0xE2 and x == 0x80 and (0x80 <= y <= 0x8A or y == 0xA8 or y == 0xA9 or y == 0xAF)
    wide |= b == 0xE2 and x == 0x81 and y == 0x9F
    wide |= b == 0xE3 and x == 0x80 and y == 0x80
    return U(3) if wide else E0


@inner
def strip_left(data, start, stop):
    """Where the text start..stop begins after its leading whitespace."""
    while start < stop:
        width = space_width(data, start, stop)
        if width == E0:
            break
        start += width
    return start


@inner
def strip_right(data, start, stop):
    """Where the text start..stop ends before its trailing whitespace."""
    while stop > start:
        back = E1
        while back < U(3) and stop - back > start and (data[stop - back] & 0xC0) == 0x80:
            back += E1
        if space_width(data, stop - back, stop) != back:
            break
        stop -= back
    return stop


@inner
def empty_table(table, count):
    """Clears as much of `table` (int32[2^k]) as `count` keys need, half full at most; returns the index mask."""
    size = 2
    while size < 2 * count:
        size *= 2
    table[:size] = -1
    return U(size - 1)


@inner
def first_equal(table, mask, keys, index):
    """The first index given so far with the same key as `index`: itself, then remembered, if the key is new."""
    key = keys[index]
    at = (key >> E8) & mask  # the lowest bit of a hash is always set
    while table[at] >= 0:
        if keys[table[at]] == key:
            return np.int64(table[at])
        at = (at + E1) & mask
    table[at] = index
    return np.int64(index)


def table_size(count: int) -> int:
    """Smallest power of two that holds `count` keys half full: the size `empty_table` may ask for."""
    return 1 << max(1, (2 * int(count) - 1).bit_length())
