"""Signals describe a row in numbers; operators turn numbers into reasons. `score_text` gives the numbers.

Importing this package loads no numba; the kernels load on the first call.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from curator.signals.buffers import row_bytes

__all__ = ["score_text", "signal_names"]


def score_text(texts: pa.Array | pa.ChunkedArray, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Signals of a column of text: name -> float32[n], NaN where the signal cannot say (a null text: everywhere).

    texts: string or large_string, sliced or not. names: of `signal_names()`; only the families that give them are run.
    float32 counts are exact up to 2^24. Releases the GIL; raises ValueError on an unknown name, TypeError on a column
    without text.
    """
    from curator.signals.text import score_rows

    return score_rows(row_bytes(texts), names)


def signal_names() -> dict[str, str]:
    """Every signal of text and what it says."""
    from curator.signals.text import SIGNALS

    return dict(SIGNALS)
