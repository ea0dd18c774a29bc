"""Blocks of float32 to int8, scales and error in one Triton kernel, and back, summed, in another: each number is read
once and written once, whatever the length.

Knows vectors; the twins are `int8_blocks.quantise_plain`, bit for bit, and `sum_plain`. Loads Triton: imported only
where it is to run.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from triton import language as tl

from pipelines.training.int8_blocks import SMALLEST

__all__ = ["quantise_blocks", "sum_blocks"]

_NUMBERS = 4096
"""that one program takes, in whole blocks"""
_WARPS = 8


def quantise_blocks(
    x_N: Tensor, error_N: Tensor | None, block: int, *, numbers: int = _NUMBERS, warps: int = _WARPS
) -> tuple[Tensor, Tensor, Tensor]:
    """What `int8_blocks.quantise` says; `block` a power of two."""
    size = len(x_N)
    values_N = torch.empty(size, dtype=torch.int8, device=x_N.device)
    scales_M = torch.empty(-(-size // block), dtype=torch.float32, device=x_N.device)
    kept_N = torch.empty_like(x_N)
    if size:
        rows = max(numbers // block, 1)
        _quantise[(triton.cdiv(len(scales_M), rows),)](
            x_N,
            x_N if error_N is None else error_N,
            values_N,
            scales_M,
            kept_N,
            size,
            len(scales_M),
            LEAST=SMALLEST,
            HAS_ERROR=error_N is not None,
            BLOCK=block,
            ROWS=rows,
            num_warps=warps,
            enable_fp_fusion=False,  # the receiver rounds value × scale, so what was lost is counted from that
        )
    return values_N, scales_M, kept_N


def sum_blocks(
    values_WN: Tensor, scales_WM: Tensor, block: int, *, numbers: int = _NUMBERS, warps: int = _WARPS
) -> Tensor:
    """What `int8_blocks.dequantised_sum` says; `block` a power of two."""
    num_vectors, size = values_WN.shape
    total_N = torch.empty(size, dtype=torch.float32, device=values_WN.device)
    if size:
        rows = max(numbers // block, 1)
        _sum[(triton.cdiv(scales_WM.shape[1], rows),)](
            values_WN.contiguous(),
            scales_WM.contiguous(),
            total_N,
            size,
            scales_WM.shape[1],
            num_vectors,
            BLOCK=block,
            ROWS=rows,
            num_warps=warps,
            enable_fp_fusion=False,
        )
    return total_N


@triton.jit
def _sum(values, scales, total, size, num_blocks, num_vectors, BLOCK: tl.constexpr, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    at = row[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    sums = tl.zeros((ROWS, BLOCK), tl.float32)
    for _ in range(num_vectors):
        scale = tl.load(scales + row, mask=row < num_blocks, other=0.0)
        sums += tl.load(values + at, mask=at < size, other=0).to(tl.float32) * scale[:, None]
        values += size
        scales += num_blocks
    tl.store(total + at, sums, mask=at < size)


@triton.jit
def _quantise(  # type: ignore[no-untyped-def]
    x,
    error,
    values,
    scales,
    kept,
    size,
    num_blocks,
    LEAST: tl.constexpr,
    HAS_ERROR: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    at = row[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    real = at < size
    whole = tl.load(x + at, mask=real, other=0.0)
    before = tl.zeros_like(whole)
    if HAS_ERROR:
        before = tl.load(error + at, mask=real, other=0.0)
        whole += before
    size_of = tl.abs(whole)
    largest = tl.max(tl.where(size_of <= 3.4028234663852886e38, size_of, float("inf")), 1)  # NaN counts as infinity
    finite = largest < float("inf")
    usable = finite & (largest > LEAST)
    scale = tl.where(largest > LEAST, tl.div_rn(largest, 127.0), 1.0)
    step = tl.where(usable, tl.div_rn(127.0, tl.where(usable, largest, 1.0)), 0.0)
    scaled = tl.where(usable[:, None], whole * step[:, None], 0.0)
    rounded = (scaled + 12582912.0) - 12582912.0  # 1.5·2²³: to the nearest whole number, ties to even
    lost = whole - rounded * tl.where(finite, scale, 0.0)[:, None]
    tl.store(values + at, rounded.to(tl.int8), mask=real)
    tl.store(scales + row, scale, mask=row < num_blocks)
    tl.store(kept + at, tl.where(finite[:, None], lost, before), mask=real)
