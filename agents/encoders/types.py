"""What an encoder is. Knows shapes; nothing of text, images or models."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa
import torch

__all__ = ["Encoder"]


class Encoder(Protocol):
    """Turns a column of content into vectors. `name` is what a recipe calls it; `dim` is known before fitting.

    fit_rows and fit_bytes bound the sample that `fit` is given, in rows and in bytes of content; 0 rows: no sample.
    """

    name: str
    dim: int
    fit_rows: int
    fit_bytes: int

    def fit(self, sample: pa.Array, seed: int) -> None:
        """Learns what it needs from a bounded sample (a builtin encoder) or nothing (a pretrained one)."""

    def encode(self, column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        """float32[n, dim] and valid bool[n]: False, with a zero vector, where there is nothing or it cannot be read."""

    def to_tensors(self) -> dict[str, torch.Tensor]:
        """What fitting learned, for safetensors."""

    def from_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """The inverse."""
