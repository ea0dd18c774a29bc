"""Text that is not made of language: symbols, digits, capitals, addresses, noise. Knows shares of characters."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from curator.signals.types import Bound, RowRule

__all__ = ["Composition"]


class Composition(RowRule):
    """Drops tables, logs, keys and spam by what their characters are and how well they compress.

    Symbols, digits, whitespace and addresses: the defaults of NeMo Curator's heuristic filters (non-alphanumeric 0.25,
    numbers 0.15, whitespace 0.25, URLs 0.2). Capitals and compression: our own, far outside what prose shows.
    """

    kind: Literal["composition"] = "composition"
    max_symbol_share: float | None = Field(default=0.25, ge=0, le=1)
    max_digit_share: float | None = Field(default=0.15, ge=0, le=1)
    max_whitespace_share: float | None = Field(default=0.25, ge=0, le=1)
    max_url_char_share: float | None = Field(default=0.2, ge=0, le=1)
    max_uppercase_share: float | None = Field(default=0.5, ge=0, le=1)
    min_compression_ratio: float | None = Field(default=1.2, ge=0)
    max_compression_ratio: float | None = Field(default=10, ge=0)

    signals: ClassVar[tuple[str, ...]] = (
        "symbol_share",
        "digit_share",
        "whitespace_share",
        "url_char_share",
        "uppercase_share",
        "compression_ratio",
    )
    reasons: ClassVar[dict[str, str]] = {
        "too_many_symbols": "too much punctuation and too many symbols",
        "too_many_digits": "too many digits",
        "too_much_whitespace": "too much whitespace",
        "too_many_urls": "too much of the text is addresses",
        "too_many_capitals": "too many of the letters are capitals",
        "incompressible": "hardly compresses: random or encoded bytes",
        "too_compressible": "compresses extremely well: the same again and again",
    }

    def bounds(self) -> tuple[Bound, ...]:
        return (
            Bound("too_many_symbols", "symbol_share", "above", self.max_symbol_share),
            Bound("too_many_digits", "digit_share", "above", self.max_digit_share),
            Bound("too_much_whitespace", "whitespace_share", "above", self.max_whitespace_share),
            Bound("too_many_urls", "url_char_share", "above", self.max_url_char_share),
            Bound("too_many_capitals", "uppercase_share", "above", self.max_uppercase_share),
            Bound("incompressible", "compression_ratio", "below", self.min_compression_ratio),
            Bound("too_compressible", "compression_ratio", "above", self.max_compression_ratio),
        )
