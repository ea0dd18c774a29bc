"""The distillation loss in one kernel, in Triton's interpreter on a CPU, against its twin in float64."""

from __future__ import annotations

from tests.pipelines.training.triton_interpreter import interpreted, run

INTERPRETED = """
import torch
from pipelines.training.compress.distil import logit_slopes
from pipelines.training.compress.logit_kernel import fused_logit_slopes

draws = torch.Generator().manual_seed(0)
for rows, size, dtype in ((5, 50, torch.float32), (3, 16, torch.float32), (4, 37, torch.float16)):
    ours, wanted = (torch.randn(2, rows, size, generator=draws) * 5).to(dtype).unbind()
    losses, slopes = logit_slopes(ours.double(), wanted.double(), 2.0)
    found, given = fused_logit_slopes(ours, wanted, 2.0, block=16)
    assert found.dtype == torch.float32 and given.dtype == dtype
    torch.testing.assert_close(found.double(), losses, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(given.double(), slopes, rtol=0, atol=1e-6 if dtype == torch.float32 else 2e-3)
    wide = torch.full((rows, size + 8), 7.0, dtype=dtype)
    wide[:, :size] = ours
    same, there = fused_logit_slopes(wide[:, :size], wanted, 2.0, out=wide[:, :size], block=16)
    assert torch.equal(same, found) and torch.equal(wide[:, :size], given), "in place it is the same"
    assert (wide[:, size:] == 7).all(), "nothing is written beside the rows"
    none, flat = fused_logit_slopes(wanted, wanted, 2.0, block=16)
    assert none.abs().max() < 1e-5 and flat.abs().max() < 1e-5
print("equal")
"""


@interpreted
def test_the_kernel_equals_its_twin_in_the_interpreter() -> None:
    assert run(INTERPRETED) == "equal"
