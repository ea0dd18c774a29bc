"""The signals of text: families of columns, each computed in one pass. `score_rows` runs those that are asked for.

Importing this package loads numba; `curator.signals.score_text` does so only when called.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from curator.signals.buffers import RowBytes
from curator.signals.text.characters import CHARACTERS
from curator.signals.text.compression import COMPRESSION
from curator.signals.text.dclm import DCLM
from curator.signals.text.family import Family
from curator.signals.text.language import LANGUAGE
from curator.signals.text.lines import LINES
from curator.signals.text.pages import PAGES
from curator.signals.text.personal import PERSONAL
from curator.signals.text.phrases import PHRASES
from curator.signals.text.words import WORDS

__all__ = ["FAMILIES", "SIGNALS", "score_rows"]

FAMILIES: Final[dict[str, Family]] = {
    "characters": CHARACTERS,
    "words": WORDS,
    "lines": LINES,
    "pages": PAGES,
    "phrases": PHRASES,
    "compression": COMPRESSION,
    "dclm": DCLM,
    "language": LANGUAGE,
    "personal": PERSONAL,
}

SIGNALS: Final[dict[str, str]] = {name: text for family in FAMILIES.values() for name, text in family.signals.items()}
"""Every signal and what it says, in column order."""


def score_rows(rows: RowBytes, names: Iterable[str]) -> dict[str, np.ndarray]:
    """name -> float32[n], in the order asked; NaN for null rows. Runs each family that gives a wanted name once.

    Raises ValueError on an unknown name.
    """
    wanted = tuple(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in SIGNALS]
    if unknown:
        raise ValueError(f"no signal {', '.join(map(repr, unknown))}; there are {', '.join(SIGNALS)}")
    found: dict[str, np.ndarray] = {}
    for family in FAMILIES.values():
        if family.signals.keys() & set(wanted):
            table = family.score(rows, wanted)
            table[~rows.valid] = np.nan
            found |= {
                name: np.ascontiguousarray(table[:, k]) for k, name in enumerate(family.signals) if name in wanted
            }
    return {name: found[name] for name in wanted}
