"""Sequences of words that a text shares with rows of benchmarks. Knows files and words, not what becomes of a text."""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from curator.duplicates.words import word_hashes
from curator.errors import RecipeError
from curator.readers import discover, plan_inputs, read
from curator.signals.benchmarks import BENCHMARK_SIGNALS
from curator.signals.buffers import RowBytes, row_bytes
from curator.signals.text.bytescan import kernel
from curator.signals.text.unicode import char_classes

__all__ = ["Benchmarks", "benchmark_signals", "load_benchmarks"]

_FILTER_BITS: Final = 24
_PRIMES: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))


class Benchmarks(NamedTuple):
    """Every sequence once, by its 64-bit hash, of the first row that has it. passing: which hashes may occur."""

    ngram: int
    grams: np.ndarray  # uint64[m], ascending
    file: np.ndarray  # int64[m]
    row: np.ndarray  # int64[m]
    passing: np.ndarray  # bool[2^24]


@lru_cache(maxsize=2)
def load_benchmarks(files: tuple[str, ...], column: str, ngram: int) -> Benchmarks:
    """Raises RecipeError for no file, or one without a column of text of that name; InputError for one unreadable."""
    if not files:
        raise RecipeError("decontaminate: files is empty; name the benchmarks whose rows texts must not hold")
    grams, places = [np.zeros(0, np.uint64)], [np.zeros((0, 2), np.int64)]
    for number, file in enumerate(files):
        plan = plan_inputs(discover([file]), unit_rows=65_536)
        kind = plan.schema.field(column).type if column in plan.schema.names else None
        if kind is None or not (pt.is_string(kind) or pt.is_large_string(kind)):
            told = "no column" if kind is None else f"{kind} in column"
            has = ", ".join(plan.schema.names)
            raise RecipeError(f"decontaminate: {file} has {told} {column!r} to look for; set `column` to one of {has}")
        before = 0
        for unit in plan.units:
            for _, batch in read(unit, columns=[column], schema=plan.schema):
                rows = row_bytes(batch.column(0))
                found, of = _grams_of(rows, ngram)
                grams.append(found)
                places.append(np.stack([np.full(len(of), number), of + before], axis=1))
                before += len(rows)
    every, at = np.unique(np.concatenate(grams), return_index=True)
    file_row = np.concatenate(places)[at]
    passing = np.zeros(1 << _FILTER_BITS, np.bool_)
    passing[every >> np.uint64(64 - _FILTER_BITS)] = True
    return Benchmarks(ngram, every, file_row[:, 0], file_row[:, 1], passing)


def benchmark_signals(texts: pa.Array | pa.ChunkedArray, benchmarks: Benchmarks) -> dict[str, np.ndarray]:
    """name -> float32[n] for BENCHMARK_SIGNALS; NaN where a text is null, or shares nothing and so names no row."""
    rows = row_bytes(texts)
    out = np.full((len(rows), 3), np.nan, np.float32)
    bounds, words = _scratch(rows)
    grams, file, row, passing = benchmarks[1:]
    _shared(
        rows.data,
        rows.offsets,
        rows.valid,
        char_classes(),
        benchmarks.ngram,
        grams,
        file,
        row,
        passing,
        bounds,
        words,
        out,
    )
    return {name: np.ascontiguousarray(out[:, place]) for place, name in enumerate(BENCHMARK_SIGNALS)}


def _scratch(rows: RowBytes) -> tuple[np.ndarray, np.ndarray]:
    most = int(np.diff(rows.offsets).max(initial=0)) + 1
    return np.empty(2 * most, np.uint64), np.empty(most, np.uint32)


def _grams_of(rows: RowBytes, ngram: int) -> tuple[np.ndarray, np.ndarray]:
    """(hashes uint64[m], the row of each int64[m]) of all sequences of so many words."""
    bounds, words = _scratch(rows)
    most = int(rows.offsets[-1] - rows.offsets[0]) + 1
    grams, of = np.empty(most, np.uint64), np.empty(most, np.int64)
    count = _fill(rows.data, rows.offsets, rows.valid, char_classes(), ngram, bounds, words, grams, of)
    return grams[:count].copy(), of[:count].copy()


@kernel
def _gram(words, first, ngram):
    one, two = np.uint64(1), np.uint64(1)
    for k in range(first, first + ngram):
        one = (one ^ np.uint64(words[k])) * _PRIMES[0]
        two = (two + np.uint64(words[k])) * _PRIMES[1]
        one ^= one >> np.uint64(29)
    return one ^ (two >> np.uint64(17)) ^ (two << np.uint64(31))


@kernel
def _fill(data, offsets, valid, classes, ngram, bounds, words, grams, of):
    count = 0
    for row in range(offsets.size - 1):
        if not valid[row]:
            continue
        start, stop = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        size = word_hashes(data, start, stop, classes, bounds, words)
        for first in range(size - ngram + 1):
            grams[count] = _gram(words, first, ngram)
            of[count] = row
            count += 1
    return count


@kernel
def _shared(data, offsets, valid, classes, ngram, grams, file, source, passing, bounds, words, out):
    for row in range(offsets.size - 1):
        if not valid[row]:
            continue
        start, stop = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        size = word_hashes(data, start, stop, classes, bounds, words)
        shared = 0
        for first in range(size - ngram + 1):
            gram = _gram(words, first, ngram)
            if not passing[gram >> np.uint64(40)]:
                continue
            at = np.searchsorted(grams, gram)
            if at < grams.size and grams[at] == gram:
                if shared == 0:
                    out[row, 1], out[row, 2] = file[at], source[at]
                shared += 1
        out[row, 0] = shared
