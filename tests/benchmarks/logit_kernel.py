"""The distillation loss over a large vocabulary on a GPU: eager, compiled and one kernel, forward and gradient.

    python tests/benchmarks/logit_kernel.py

8,192 rows of 50,304 scores in bf16, temperature 2; beside the time it takes to read both once and write the slopes once
at the rate of a copy.
"""

from __future__ import annotations

import sys

import torch
from _cuda_timing import copy_ceiling, median_s

from pipelines.training.compress.distil import logit_slopes

ROWS, SIZE, TEMPERATURE = 8192, 50_304, 2.0
TILINGS = ((4096, 16), (4096, 8), (2048, 8), (2048, 4), (8192, 16), (8192, 32), (16384, 32))


def main() -> int:
    if not torch.cuda.is_available():
        print("no CUDA device: nothing to measure")
        return 0
    from pipelines.training.compress.logit_kernel import fused_logit_slopes

    draws = torch.Generator("cuda").manual_seed(0)
    ours, wanted = (torch.randn(ROWS, SIZE, device="cuda", generator=draws).mul_(2).bfloat16() for _ in range(2))
    floor = 3 * ours.nbytes / copy_ceiling()
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {ROWS} x {SIZE} bf16; floor {floor * 1e3:.3f} ms"
    )
    _agree(ours[:64], wanted[:64])
    compiled = torch.compile(_in_float32)
    out = torch.empty_like(ours)
    rows = {"eager": lambda: _in_float32(ours, wanted), "compiled": lambda: compiled(ours, wanted)}
    rows |= {
        f"one kernel, block {block}, {warps} warps": (
            lambda block=block, warps=warps: fused_logit_slopes(
                ours, wanted, TEMPERATURE, out=out, block=block, warps=warps
            )
        )
        for block, warps in TILINGS
    }
    for name, run in rows.items():
        seconds = median_s(run)
        print(f"{name:36}{seconds * 1e3:9.3f} ms{seconds / floor:8.2f} x floor", flush=True)
    return 0


def _in_float32(ours: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    losses, slopes = logit_slopes(ours.float(), wanted.float(), TEMPERATURE)
    return losses, slopes.to(ours.dtype)


def _agree(ours: torch.Tensor, wanted: torch.Tensor) -> None:
    from pipelines.training.compress.logit_kernel import fused_logit_slopes

    losses, slopes = logit_slopes(ours.double(), wanted.double(), TEMPERATURE)
    found, given = fused_logit_slopes(ours, wanted, TEMPERATURE)
    loss_off = float(((found - losses) / losses).abs().max())
    slope_off = float((given.double() - slopes).norm() / slopes.norm())
    print(f"against float64: loss {loss_off:.1e}, slopes {slope_off:.1e} (bf16 rounds by 2e-3)")


if __name__ == "__main__":
    sys.exit(main())
