"""Lines with phrases that pages say around their text, and lines of copyright or licence text, as shares of all lines.

Knows phrases; nothing of thresholds.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from curator.signals.buffers import RowBytes
from curator.signals.text.automaton import build
from curator.signals.text.bytescan import E1, inner, lean, strip_left
from curator.signals.text.c4_lines import POLICY_PHRASES
from curator.signals.text.family import Family
from curator.signals.text.lines import most_newlines, split_lines

__all__ = ["BOILERPLATE_PHRASES", "LICENCE_PHRASES", "PHRASES"]

BOILERPLATE_PHRASES: Final = (
    *POLICY_PHRASES,
    "accept all cookies",
    "accept cookies",
    "add to cart",
    "all categories",
    "back to top",
    "click here",
    "cookie settings",
    "follow us on",
    "forgot your password",
    "leave a comment",
    "leave a reply",
    "log in",
    "newsletter",
    "page not found",
    "please enable javascript",
    "powered by wordpress",
    "read more",
    "share on facebook",
    "share on twitter",
    "share this:",
    "sign in",
    "sign up",
    "skip to content",
    "skip to main content",
    "subscribe to",
    "terms and conditions",
    "terms of service",
    "your email address will not be published",
)
"""What pages say around their text."""

LICENCE_PHRASES: Final = (
    "all rights reserved",
    'as is" without warranty',
    "copyright (c)",
    "copyright ©",
    "creative commons attribution",
    "gnu free documentation license",
    "gnu general public license",
    "licensed under the",
    "permission is hereby granted",
    "redistribution and use in source and binary forms",
    "spdx-license-identifier",
    "this program is free software",
    "without warranties or conditions of any kind",
    "without warranty of any kind",
)

SIGNALS: Final = {
    "boilerplate_line_share": "lines with a phrase of web boilerplate, per non-blank line",
    "licence_line_share": "lines with a phrase of copyright or licence text, per non-blank line",
}

_BOILERPLATE, _LICENCE = 1, 2
_AUTOMATON = build({_BOILERPLATE: BOILERPLATE_PHRASES, _LICENCE: LICENCE_PHRASES})


@inner
def _phrases_in(data, start, stop, moves, groups):
    """Bits of all phrase groups within start..stop."""
    state = np.uint64(0)
    found = np.uint8(0)
    while start < stop:
        state = np.uint64(moves[state, data[start]])
        found |= groups[state]
        start += E1
    return found


@lean
def _phrases(data, offsets, moves, groups, starts, ends, out):
    for row in range(offsets.size - 1):
        lines = boilerplate = licence = 0
        pieces = split_lines(data, np.uint64(offsets[row]), np.uint64(offsets[row + 1]), starts, ends)
        for k in range(pieces):
            if strip_left(data, starts[k], ends[k]) == ends[k]:
                continue
            found = _phrases_in(data, starts[k], ends[k], moves, groups)
            lines += 1
            boilerplate += (found & _BOILERPLATE) != 0
            licence += (found & _LICENCE) != 0
        out[row, 0] = boilerplate / lines if lines else np.nan
        out[row, 1] = licence / lines if lines else np.nan


def _score(rows: RowBytes, _: Collection[str]) -> np.ndarray:
    starts, ends = np.empty((2, most_newlines(rows.data, rows.offsets) + 1), np.uint64)
    out = np.empty((len(rows), len(SIGNALS)), np.float32)
    _phrases(rows.data, rows.offsets, _AUTOMATON.moves, _AUTOMATON.groups, starts, ends, out)
    return out


PHRASES: Final = Family(SIGNALS, _score)
