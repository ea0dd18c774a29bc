"""Float32 vectors as 8-bit numbers with a scale for each block, and what rounding lost, kept for the next time.

Knows vectors only: no gradients, no processes, no optimiser. On CUDA two Triton kernels (`int8_kernel.py`) serve blocks
of a power of two: torch.compile comes up to them only where it compiles anew for every length, and takes twice as
long where one graph serves all. The plain twins serve the rest.

Legend: N numbers, M blocks of them, W vectors.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["BLOCK", "SMALLEST", "dequantise", "dequantised_sum", "quantise", "quantise_plain", "sum_plain"]

BLOCK: Final = 1024
SMALLEST: Final = 2.0**-100
"""A block of nothing larger is sent as zeros and kept whole in the error: its scale would not be a normal number."""


def quantise(x_N: Tensor, *, block: int = BLOCK, error: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """(values int8[N] in -127…127, scales float32[M], the new error float32[N]) of x + error.

    A block's scale is its largest magnitude over 127; values round to the nearest, ties to even; the new error is
    what that lost, so that nothing is lost over many calls (Seide et al. 2014, "1-bit stochastic gradient descent",
    section 2; here with 8 bits and blocks). A block that holds an infinity or NaN gets a scale of infinity, comes back
    as NaN, and keeps its error as it was: an overflow is seen and does no harm later.

    Neither input is changed. Raises ValueError for anything but contiguous float32 vectors of one length.
    """
    _check(x_N, "x_N", torch.float32)
    if error is not None:
        _check(error, "error", torch.float32)
        if error.shape != x_N.shape:
            raise ValueError(f"the error has {len(error)} numbers and x_N {len(x_N)}: give that vector's error")
    if block < 1:
        raise ValueError(f"a block has at least one number, got {block}")
    if x_N.is_cuda and _for_kernel(block):
        from pipelines.training.int8_kernel import quantise_blocks

        return quantise_blocks(x_N, error, block)
    return quantise_plain(x_N, error, block)


def quantise_plain(x_N: Tensor, error: Tensor | None, block: int) -> tuple[Tensor, Tensor, Tensor]:
    """The twin of `quantise`, every intermediate spelled out."""
    whole_N = x_N if error is None else x_N + error
    whole_MB = _blocks(whole_N, block)
    largest_M = whole_MB.abs().nan_to_num(nan=torch.inf, posinf=torch.inf).amax(dim=1)
    scales_M = torch.where(largest_M > SMALLEST, largest_M / 127.0, 1.0)
    steps_M = torch.where(
        (largest_M > SMALLEST) & largest_M.isfinite(), torch.full_like(largest_M, 127.0) / largest_M, 0.0
    )
    values_MB = torch.where(steps_M[:, None] > 0, (whole_MB * steps_M[:, None]).round(), 0.0)
    lost_MB = whole_MB - values_MB * scales_M[:, None]
    before_MB = torch.zeros_like(whole_MB) if error is None else _blocks(error, block)
    kept_MB = torch.where(scales_M[:, None].isfinite(), lost_MB, before_MB)
    size = len(x_N)
    return values_MB.to(torch.int8).flatten()[:size], scales_M, kept_MB.flatten()[:size]


def dequantise(values_N: Tensor, scales_M: Tensor, *, block: int = BLOCK) -> Tensor:
    """float32[N]: each value times the scale of its block."""
    return dequantised_sum(values_N[None], scales_M[None], block=block)


def dequantised_sum(values_WN: Tensor, scales_WM: Tensor, *, block: int = BLOCK) -> Tensor:
    """float32[N]: the sum of W dequantised vectors, in order.

    Raises ValueError where scales and values do not belong together.
    """
    num_vectors, size = values_WN.shape
    blocks = -(-size // block)
    if values_WN.dtype != torch.int8 or scales_WM.shape != (num_vectors, blocks):
        raise ValueError(
            f"{num_vectors} vectors of {size} int8 values in blocks of {block} have {blocks} scales each; got values "
            f"of {values_WN.dtype} and scales {tuple(scales_WM.shape)}"
        )
    if values_WN.is_cuda and _for_kernel(block):
        from pipelines.training.int8_kernel import sum_blocks

        return sum_blocks(values_WN, scales_WM, block)
    return sum_plain(values_WN, scales_WM, block)


def sum_plain(values_WN: Tensor, scales_WM: Tensor, block: int) -> Tensor:
    """The twin of `dequantised_sum`."""
    total_MB = torch.zeros((), device=values_WN.device)
    for values_N, scales_M in zip(values_WN.unbind(), scales_WM.unbind(), strict=True):
        total_MB = total_MB + _blocks(values_N, block).float() * scales_M[:, None]
    return total_MB.flatten()[: values_WN.shape[1]]


def _for_kernel(block: int) -> bool:
    return block >= 16 and block & (block - 1) == 0


def _blocks(x_N: Tensor, block: int) -> Tensor:
    """[M, block], zeros after the end."""
    return F.pad(x_N, (0, -len(x_N) % block)).view(-1, block)


def _check(vector: Tensor, name: str, dtype: torch.dtype) -> None:
    if vector.ndim != 1 or vector.dtype != dtype or not vector.is_contiguous():
        raise ValueError(
            f"{name} is {vector.dtype} {tuple(vector.shape)}{'' if vector.is_contiguous() else ', not contiguous'}; "
            f"give one contiguous vector of {dtype}"
        )
