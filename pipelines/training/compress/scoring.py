"""What is measured of a model: inputs to scores, whatever computes them.

Knows tensors; nothing of rows, files or accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

__all__ = ["Run", "run_of"]

Run = Callable[[Tensor, Tensor | None], Tensor]
"""(ids int64[B, T] and which are real bool[B, T] or None for all; or pixels float32[B, C, S, S] and None) to scores
[B, C]."""


def run_of(model: Any) -> Run:
    """A classifier of the training package as a `Run`."""

    def run(inputs: Tensor, keys_BT: Tensor | None) -> Tensor:
        return model(inputs) if inputs.is_floating_point() else model(inputs, keys_BT)

    return run
