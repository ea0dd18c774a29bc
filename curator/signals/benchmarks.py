"""Texts that hold parts of a benchmark. Knows counts, not how they are found."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from curator.signals.types import Bound, RowRule

__all__ = ["BENCHMARK_SIGNALS", "Decontaminate"]

BENCHMARK_SIGNALS = ("benchmark_grams", "benchmark_file", "benchmark_row")
"""Of a row: how many sequences of words it shares with benchmarks; of the first of them the benchmark's place in
`files` and the row in it, from 0 (cannot say without any)."""


class Decontaminate(RowRule):
    """Drops texts that share a sequence of 13 words with a row of a benchmark; which row, its signals say.

    13 words, lower case and without punctuation: Brown et al. 2020, appendix C. Unlike there, a benchmark's row of
    fewer words is not looked for, none is left out because it occurs often, and the whole text goes, not a window.
    """

    kind: Literal["decontaminate"] = "decontaminate"
    files: tuple[str, ...] = Field(default=(), description="benchmarks, in any format that is read")
    column: str = Field(default="text", description="of the benchmarks: what is looked for")
    ngram: int = Field(default=13, ge=5, le=64)
    max_grams: int | None = Field(default=0, ge=0)

    signals: ClassVar[tuple[str, ...]] = BENCHMARK_SIGNALS
    reasons: ClassVar[dict[str, str]] = {"benchmark": "more word sequences of a benchmark than asked for"}

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("benchmark", "benchmark_grams", "above", self.max_grams),)
