"""Attention over time and the convolution of the values in one Triton kernel forward and one backward.

Knows tensors; its twin is `temporal.attend_over_time_plain`. Forward reads queries, keys and values once and writes the
result; backward reads those and the slope once and writes the three gradients: nothing of size T×T leaves a program.
A program holds all frames of one head at some places of a frame. Loads Triton: imported only where it is to run.

Legend: B clips, T frames, N places, H heads, D head width, C = H·D; a tile has R rows: its places, each with its
frames, padded to a power of two.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import torch
import triton
from torch import Tensor
from triton import language as tl

__all__ = ["Tiling", "backward", "forward", "temporal_attention"]


class Tiling(NamedTuple):
    """How the work is cut: what measurements on a GPU choose; results depend on it by rounding alone."""

    tiles: int
    """places that a program does one after the other, the next one's values loading meanwhile"""
    warps: int
    stages: int


_FORWARD: Final = {16: Tiling(16, 1, 3), 32: Tiling(4, 4, 3), 64: Tiling(8, 4, 3), 128: Tiling(1, 8, 1)}
_BACKWARD: Final = {16: Tiling(4, 1, 2), 32: Tiling(4, 2, 2), 64: Tiling(4, 4, 2), 128: Tiling(1, 8, 1)}
"""By frames, padded; the quickest of 45 and 270 on an H200 at 64 wide heads. 128: not measured."""

_FEWEST_PROGRAMS: Final = 1024
"""A small input is cut finer, so that it fills a GPU."""


@torch.library.custom_op("winnow::temporal_attention", mutates_args=())
def temporal_attention(qkv_BTN3C: Tensor, weights_KC: Tensor, lengths_B: Tensor | None, heads: int) -> Tensor:
    """What `temporal.attend_over_time` says; with a gradient for qkv and the weights."""
    return forward(qkv_BTN3C, weights_KC, lengths_B, heads)


@temporal_attention.register_fake
def _(qkv_BTN3C: Tensor, weights_KC: Tensor, lengths_B: Tensor | None, heads: int) -> Tensor:
    return qkv_BTN3C.new_empty((*qkv_BTN3C.shape[:3], weights_KC.shape[1]))


@torch.library.custom_op("winnow::temporal_attention_backward", mutates_args=())
def _slopes(
    slope_BTNC: Tensor, qkv_BTN3C: Tensor, weights_KC: Tensor, lengths_B: Tensor | None, heads: int
) -> tuple[Tensor, Tensor]:
    return backward(slope_BTNC, qkv_BTN3C, weights_KC, lengths_B, heads)


@_slopes.register_fake
def _(
    slope_BTNC: Tensor, qkv_BTN3C: Tensor, weights_KC: Tensor, lengths_B: Tensor | None, heads: int
) -> tuple[Tensor, Tensor]:
    return qkv_BTN3C.new_empty(qkv_BTN3C.shape), torch.empty_like(weights_KC)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    qkv_BTN3C, weights_KC, lengths_B, ctx.heads = inputs
    ctx.save_for_backward(qkv_BTN3C, weights_KC, lengths_B)


def _backward(ctx: Any, slope_BTNC: Tensor) -> tuple[Tensor, Tensor, None, None]:
    qkv_BTN3C, weights_KC, lengths_B = ctx.saved_tensors
    return (*_slopes(slope_BTNC, qkv_BTN3C, weights_KC, lengths_B, ctx.heads), None, None)


temporal_attention.register_autograd(_backward, setup_context=_keep)


def forward(
    qkv_BTN3C: Tensor, weights_KC: Tensor, lengths_B: Tensor | None, heads: int, tiling: Tiling | None = None
) -> Tensor:
    """The result [B, T, N, C] without a gradient."""
    qkv, (batch, frames, places, _), width = qkv_BTN3C.contiguous(), qkv_BTN3C.shape, weights_KC.shape[1] // heads
    out = torch.empty((batch, frames, places, heads * width), dtype=qkv.dtype, device=qkv.device)
    rows = _padded(frames)
    tiling = tiling or _cut(_FORWARD[rows], batch * places * heads)
    if out.numel():
        _forward_kernel[(triton.cdiv(batch * places, tiling.tiles) * heads,)](
            qkv,
            weights_KC.contiguous(),
            out,
            _lengths(lengths_B, out),
            frames,
            places,
            batch * places,
            width**-0.5 * 1.4426950408889634,
            **_sizes(heads, rows, width, lengths_B, qkv, tiling),
        )
    return out


def backward(
    slope_BTNC: Tensor,
    qkv_BTN3C: Tensor,
    weights_KC: Tensor,
    lengths_B: Tensor | None,
    heads: int,
    tiling: Tiling | None = None,
) -> tuple[Tensor, Tensor]:
    """The gradients by qkv and by the weights. Each program sums the weights' over its own tiles, and those sums are
    added afterwards: the same numbers every time."""
    qkv, (batch, frames, places, _), width = qkv_BTN3C.contiguous(), qkv_BTN3C.shape, weights_KC.shape[1] // heads
    grad = torch.empty_like(qkv)
    rows = _padded(frames)
    tiling = tiling or _cut(_BACKWARD[rows], batch * places * heads)
    groups = triton.cdiv(batch * places, tiling.tiles)
    parts = torch.empty((groups, *weights_KC.shape), dtype=torch.float32, device=qkv.device)
    if grad.numel():
        _backward_kernel[(groups * heads,)](
            qkv,
            weights_KC.contiguous(),
            slope_BTNC.to(qkv.dtype).contiguous(),
            grad,
            parts,
            _lengths(lengths_B, grad),
            frames,
            places,
            batch * places,
            width**-0.5,
            **_sizes(heads, rows, width, lengths_B, qkv, tiling),
        )
    return grad, parts.sum(0).to(weights_KC.dtype)


def _cut(tiling: Tiling, sequences: int) -> Tiling:
    tiles = tiling.tiles
    while tiles > 1 and sequences < _FEWEST_PROGRAMS * tiles:
        tiles //= 2
    return tiling._replace(tiles=tiles)


def _padded(frames: int) -> int:
    return max(16, triton.next_power_of_2(frames))


def _lengths(lengths_B: Tensor | None, stand_in: Tensor) -> Tensor:
    return stand_in if lengths_B is None else lengths_B.contiguous()


def _sizes(heads: int, rows: int, width: int, lengths_B: Tensor | None, qkv: Tensor, tiling: Tiling) -> dict[str, Any]:
    return {
        "H": heads,
        "FRAMES": rows,
        "D": width,
        "HAS_LENGTHS": lengths_B is not None,
        "PRECISION": "ieee" if qkv.dtype == torch.float32 else "tf32",
        "TILES": tiling.tiles,
        "num_warps": tiling.warps,
        "num_stages": tiling.stages,
    }


@triton.jit
def _place(site, T, N, num_sites, lengths, t, HAS_LENGTHS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of one place of one clip: how many frames are real and how many there are (0 past the last place), and the row
    of each frame among B·T·N."""
    inside = site < num_sites
    clip = tl.where(inside, site // N, 0)
    frames = tl.where(inside, T, 0)
    length = frames
    if HAS_LENGTHS:
        length = tl.where(inside, tl.load(lengths + clip), 0)
    return length, frames, (clip.to(tl.int64) * T + t) * N + tl.where(inside, site % N, 0)


@triton.jit
def _shares(q, k, scale, t, length, PRECISION: tl.constexpr):  # type: ignore[no-untyped-def]
    """soft-max of the scores [R, R], in powers of two."""
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION).to(tl.float32) * scale
    scores = tl.where((t < length)[None, :], scores, -1.0e30)
    powers = tl.exp2(scores - tl.max(scores, 1)[:, None])
    return powers / tl.sum(powers, 1)[:, None]


@triton.jit
def _moved(x, by, t, PRECISION: tl.constexpr):  # type: ignore[no-untyped-def]
    """float32[R, D]: the rows `by` frames later, 0 where there are none. A product with ones off the diagonal: exact,
    in the layout of a product, and quicker than reading the rows again."""
    ones = (t[None, :] == t[:, None] + by).to(x.dtype)
    return tl.dot(ones, x, input_precision=PRECISION).to(tl.float32)


@triton.jit
def _eighths(x):  # type: ignore[no-untyped-def]
    """[R/16, 8, D]: rows 8 apart added up. A thread holds both in the layout of a product, so nothing is exchanged
    until the tiles are done."""
    return tl.sum(tl.reshape(x, (x.shape[0] // 16, 2, 8, x.shape[1])), 1)


@triton.jit
def _forward_kernel(  # type: ignore[no-untyped-def]
    qkv,
    weights,
    out,
    lengths,
    T,
    N,
    num_sites,
    scale,
    H: tl.constexpr,
    FRAMES: tl.constexpr,
    D: tl.constexpr,
    HAS_LENGTHS: tl.constexpr,
    PRECISION: tl.constexpr,
    TILES: tl.constexpr,
):
    head = tl.program_id(0) % H
    group = tl.program_id(0) // H
    C: tl.constexpr = H * D
    channel = head * D + tl.arange(0, D)[None, :]
    before = tl.load(weights + channel).to(tl.float32)
    here = tl.load(weights + C + channel).to(tl.float32)
    after = tl.load(weights + 2 * C + channel).to(tl.float32)
    t = tl.arange(0, FRAMES)
    for tile in range(TILES):
        length, frames, row = _place(group * TILES + tile, T, N, num_sites, lengths, t, HAS_LENGTHS)
        at, mask = row[:, None] * (3 * C), (t < length)[:, None]
        q = tl.load(qkv + at + channel, mask=mask, other=0.0)
        k = tl.load(qkv + C + at + channel, mask=mask, other=0.0)
        v = tl.load(qkv + 2 * C + at + channel, mask=mask, other=0.0)
        share = _shares(q, k, scale, t, length, PRECISION)
        mixed = tl.dot(share.to(v.dtype), v, input_precision=PRECISION).to(tl.float32)
        near = v.to(tl.float32) * here
        near += _moved(v, -1, t, PRECISION) * before
        near += _moved(v, 1, t, PRECISION) * after
        mixed = tl.where(mask, mixed + near, 0.0).to(out.dtype.element_ty)
        tl.store(out + row[:, None] * C + channel, mixed, mask=(t < frames)[:, None])


@triton.jit
def _backward_kernel(  # type: ignore[no-untyped-def]
    qkv,
    weights,
    slope,
    grad,
    parts,
    lengths,
    T,
    N,
    num_sites,
    scale,
    H: tl.constexpr,
    FRAMES: tl.constexpr,
    D: tl.constexpr,
    HAS_LENGTHS: tl.constexpr,
    PRECISION: tl.constexpr,
    TILES: tl.constexpr,
):
    head = tl.program_id(0) % H
    group = tl.program_id(0) // H
    C: tl.constexpr = H * D
    channel = head * D + tl.arange(0, D)[None, :]
    sum_before = tl.zeros((FRAMES // 16, 8, D), tl.float32)
    sum_here = tl.zeros((FRAMES // 16, 8, D), tl.float32)
    sum_after = tl.zeros((FRAMES // 16, 8, D), tl.float32)
    t = tl.arange(0, FRAMES)
    for tile in range(TILES):
        length, frames, row = _place(group * TILES + tile, T, N, num_sites, lengths, t, HAS_LENGTHS)
        at, mask = row[:, None] * (3 * C), (t < length)[:, None]
        q = tl.load(qkv + at + channel, mask=mask, other=0.0)
        k = tl.load(qkv + C + at + channel, mask=mask, other=0.0)
        v = tl.load(qkv + 2 * C + at + channel, mask=mask, other=0.0)
        go = tl.load(slope + row[:, None] * C + channel, mask=mask, other=0.0)
        share = _shares(q, k, scale * 1.4426950408889634, t, length, PRECISION)
        share = tl.where(mask, share, 0.0)
        by_share = tl.dot(go, tl.trans(v), input_precision=PRECISION).to(tl.float32)
        by_score = (share * (by_share - tl.sum(by_share * share, 1)[:, None]) * scale).to(q.dtype)
        kind = grad.dtype.element_ty
        grad_q = tl.dot(by_score, k, input_precision=PRECISION)
        tl.store(grad + at + channel, grad_q.to(kind), mask=(t < frames)[:, None])
        grad_k = tl.dot(tl.trans(by_score), q, input_precision=PRECISION)
        tl.store(grad + C + at + channel, grad_k.to(kind), mask=(t < frames)[:, None])
        grad_v = tl.dot(tl.trans(share.to(q.dtype)), go, input_precision=PRECISION).to(tl.float32)
        value = v.to(tl.float32)
        there = _moved(go, 0, t, PRECISION)
        grad_v += there * tl.load(weights + C + channel)
        sum_here += _eighths(there * value)
        there = _moved(go, 1, t, PRECISION)
        grad_v += there * tl.load(weights + channel)
        sum_before += _eighths(there * value)
        there = _moved(go, -1, t, PRECISION)
        grad_v += there * tl.load(weights + 2 * C + channel)
        sum_after += _eighths(there * value)
        tl.store(grad + 2 * C + at + channel, tl.where(mask, grad_v, 0.0).to(kind), mask=(t < frames)[:, None])
    part = parts + group * (3 * C) + head * D + tl.arange(0, D)
    tl.store(part, tl.sum(tl.sum(sum_before, 0), 0))
    tl.store(part + C, tl.sum(tl.sum(sum_here, 0), 0))
    tl.store(part + 2 * C, tl.sum(tl.sum(sum_after, 0), 0))
