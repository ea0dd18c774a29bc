"""Few shapes for many requests: each batch is filled up to the next number of rows and the next length.

Knows tensors and numbers; nothing of models or devices. What is filled up is masked and cut off again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from curator.errors import RequestError
from pipelines.training.tokens import PAD

__all__ = ["Bucket", "Buckets"]


class Bucket(NamedTuple):
    rows: int
    length: int | None
    """positions of a text; None for pixels"""


class Buckets:
    """The shapes: numbers of rows, and lengths of texts."""

    def __init__(self, rows: Sequence[int], lengths: Sequence[int] = ()):
        """Raises RequestError unless there are some of each that rise from 1 on; pixels have no lengths."""
        for name, sizes in (("rows", rows), ("lengths", lengths or (1,))):
            if not sizes or sorted(set(sizes)) != list(sizes) or sizes[0] < 1:
                raise RequestError(f"buckets: {name} {list(sizes)} must rise, from 1 at least; give each size once")
        self.rows, self.lengths = tuple(rows), tuple(lengths)

    def all(self) -> list[Bucket]:
        return [Bucket(rows, length) for rows in self.rows for length in (self.lengths or (None,))]

    def of(self, inputs: Tensor) -> Bucket:
        """The least that holds up to `rows[-1]` rows of ids [B, T] or pixels. Raises RequestError for longer texts."""
        rows = next(size for size in self.rows if size >= len(inputs))
        if inputs.is_floating_point():
            return Bucket(rows, None)
        length = next((size for size in self.lengths if size >= inputs.shape[1]), None)
        if length is None:
            raise RequestError(
                f"texts of {inputs.shape[1]} positions are longer than the longest bucket of {self.lengths[-1]}: give "
                "a longer one, up to the model's context"
            )
        return Bucket(rows, length)

    def filled(self, inputs: Tensor, keys_BT: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The inputs in the shape of their bucket, and which positions are real; None where all are."""
        bucket, missing = self.of(inputs), self.of(inputs).rows - len(inputs)
        if bucket.length is None:
            return F.pad(inputs, (0, 0) * (inputs.ndim - 1) + (0, missing)), None
        beyond = bucket.length - inputs.shape[1]
        if keys_BT is None and not missing and not beyond:
            return inputs, None
        keys_BT = torch.ones_like(inputs, dtype=torch.bool) if keys_BT is None else keys_BT
        keys_BT = F.pad(keys_BT, (0, beyond, 0, missing))
        keys_BT[len(inputs) :, 0] = True  # a row without a real position has no mean
        return F.pad(inputs, (0, beyond, 0, missing), value=PAD), None if bool(keys_BT.all()) else keys_BT
