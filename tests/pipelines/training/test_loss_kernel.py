"""The loss kernel in Triton's interpreter, on a CPU, against its twin in float64; on a GPU in `test_cuda.py`."""

from __future__ import annotations

import torch

from pipelines.training.loss import chunk_slopes
from pipelines.training.step import slopes_for
from tests.pipelines.training.triton_interpreter import interpreted, run

INTERPRETED = """
import torch
from pipelines.training import loss_kernel
from pipelines.training.loss import IGNORE, chunk_slopes

draws = torch.Generator().manual_seed(0)
for rows, size, dtype in ((5, 50, torch.float32), (3, 16, torch.float32), (4, 37, torch.float16)):
    logits = (torch.randn(rows, size, generator=draws) * 5).to(dtype)
    targets = torch.randint(0, size, (rows,), generator=draws)
    targets[1] = IGNORE
    targets[0] = size - 1
    losses, slopes = chunk_slopes(logits.double(), targets)
    ours, theirs = loss_kernel.in_place_slopes(logits, targets, block=16)
    assert theirs is logits and ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), losses, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(theirs.double(), slopes, rtol=0, atol=1e-6 if dtype == torch.float32 else 2e-3)
    assert not theirs[1].any() and ours[1] == 0
    wide = torch.full((2, size + 8), 7.0, dtype=dtype)
    loss_kernel.in_place_slopes(wide[:, :size], targets[:2], block=16)
    assert (wide[:, size:] == 7).all(), "nothing is written beside the rows"
print("equal")
"""


@interpreted
def test_the_kernel_equals_its_twin_in_the_interpreter() -> None:
    assert run(INTERPRETED) == "equal"


def test_a_cpu_gets_the_twin() -> None:
    assert slopes_for(torch.device("cpu")) is chunk_slopes
