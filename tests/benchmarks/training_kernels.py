"""The stage's own kernels on a GPU beside what torch.compile makes of their plain twins, and the bytes they must move.

    python tests/benchmarks/training_kernels.py

Random data, three sets in turn; medians inside a replayed CUDA graph, so without launch gaps. A floor is each input
read once and each result written once, at the copy rate of the same run. Temporal attention: 768 channels, 12 heads,
bf16, at (frames, clips, places) of SHAPES; error is ‖out - exact‖ / ‖exact‖ against the twin in float64. Blocks of
int8: 124M float32. Says nothing without CUDA.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(__import__("pathlib").Path(__file__).parents[2]))

from pipelines.training.int8_blocks import BLOCK, quantise, quantise_plain, sum_plain
from pipelines.training.temporal import TAPS, attend_over_time, attend_over_time_plain
from tests.benchmarks._cuda_timing import copy_ceiling, matmul_ceiling, replayed_s

SHAPES = ((16, 8, 196), (32, 4, 196), (64, 8, 196))
CHANNELS, HEADS = 768, 12
NUMBERS = 124_000_000 // (4 * BLOCK) * 4 * BLOCK


def main() -> int:
    if not torch.cuda.is_available():
        print("no CUDA device: nothing to measure here")
        return 0
    copied, matmul = copy_ceiling(), matmul_ceiling()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(f"ceilings of this run: bf16 matmul {matmul / 1e12:.1f} TFLOP/s, copy {copied / 1e9:.0f} GB/s")
    temporal(copied)
    int8(copied)
    return 0


def temporal(copied: float) -> None:
    print(f"\n{'attention over time':<28}{'us':>9}{'x floor':>9}{'own is':>9}{'error':>10}")
    for frames, clips, places in SHAPES:
        sets = [_clip(frames, clips, places, seed) for seed in range(3)]
        unit = sets[0][2].nbytes
        errors = _errors(*sets[0])
        for name, units, made in (("forward", 4, _forward), ("forward + backward", 11, _both)):
            own: float | None = None
            for how, attend in (
                ("own kernel", attend_over_time),
                ("compiled", torch.compile(attend_over_time_plain)),
                ("plain", attend_over_time_plain),
            ):
                seconds = replayed_s([made(attend, *one) for one in sets])
                own = own or seconds
                print(
                    f"{f'T{frames} {name}, {how}':<40}{seconds * 1e6:>9.1f}{seconds * copied / (units * unit):>9.2f}"
                    f"{seconds / own:>8.1f}x{errors[name] if how == 'own kernel' else float('nan'):>10.1e}",
                    flush=True,
                )


def int8(copied: float) -> None:
    from pipelines.training.int8_kernel import quantise_blocks, sum_blocks

    draws = torch.Generator("cuda").manual_seed(0)
    sets = [[torch.randn(NUMBERS, generator=draws, device="cuda") * scale for scale in (1e-3, 1e-5)] for _ in range(2)]
    values, scales, _ = quantise(sets[0][0], error=sets[0][1])
    parts, part_scales = values.view(4, -1), scales.view(4, -1)
    once, back, added = (bytes_ * NUMBERS + scales.nbytes for bytes_ in (13, 5, 2))
    print(f"\n{'124M float32':<50}{'ms':>9}{'x floor':>9}{'own is':>9}")
    for name, moved, own, plain, given in (
        ("quantise", once, quantise_blocks, quantise_plain, [(x, error, BLOCK) for x, error in sets]),
        ("dequantise", back, sum_blocks, sum_plain, [(values[None], scales[None], BLOCK)]),
        ("sum of 4", added, sum_blocks, sum_plain, [(parts, part_scales, BLOCK)]),
    ):
        first: float | None = None
        for how, form in (
            ("own kernel", own),
            ("compiled for any length", _fixed(plain, dynamic=True)),
            ("compiled for this length", _fixed(plain, dynamic=False)),
            ("plain", plain),
        ):
            seconds = replayed_s([lambda g=g, f=form: f(*g) for g in given])
            first = first or seconds
            print(
                f"{f'{name}, {how}':<50}{seconds * 1e3:>9.3f}{seconds * copied / moved:>9.2f}{seconds / first:>8.1f}x",
                flush=True,
            )


def _fixed(form: Callable[..., Any], *, dynamic: bool) -> Callable[..., Any]:
    """Compiled with the block a constant."""
    torch.compiler.reset()
    fused = torch.compile(lambda *given: form(*given, BLOCK), dynamic=dynamic)
    return lambda *given: fused(*given[:-1])


def _clip(frames: int, clips: int, places: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """(qkv, weights, slope)"""
    draws = torch.Generator("cuda").manual_seed(seed)
    qkv = torch.randn(clips, frames, places, 3 * CHANNELS, generator=draws, device="cuda").bfloat16()
    slope = torch.randn(clips, frames, places, CHANNELS, generator=draws, device="cuda").bfloat16()
    weights = torch.randn(TAPS, CHANNELS, generator=draws, device="cuda")
    return qkv.requires_grad_(), weights.requires_grad_(), slope


def _forward(attend: Callable[..., Tensor], qkv: Tensor, weights: Tensor, slope: Tensor) -> Callable[[], Any]:
    inputs = qkv.detach(), weights.detach()
    return lambda: attend(*inputs, HEADS)


def _both(attend: Callable[..., Tensor], qkv: Tensor, weights: Tensor, slope: Tensor) -> Callable[[], Any]:
    return lambda: torch.autograd.grad(attend(qkv, weights, HEADS), (qkv, weights), slope)


def _errors(qkv: Tensor, weights: Tensor, slope: Tensor) -> dict[str, float]:
    """Of the own kernels, on the first clip: the result's, and the larger of the two gradients'."""
    one, weights = qkv[:1].detach(), weights.detach()
    results = []
    for attend, kind in ((attend_over_time, torch.bfloat16), (attend_over_time_plain, torch.float64)):
        given = [one.to(kind).requires_grad_(), weights.to(max(kind, torch.float32, key=_bits)).requires_grad_()]
        out = attend(*given, HEADS)
        results.append([out.detach(), *torch.autograd.grad(out, given, slope[:1].to(kind))])
    out, grad, taps = (float((a.double() - b).norm() / b.norm()) for a, b in zip(*results, strict=True))
    return {"forward": out, "forward + backward": max(grad, taps)}


def _bits(kind: torch.dtype) -> int:
    return torch.finfo(kind).bits


if __name__ == "__main__":
    sys.exit(main())
