"""The loss kernel in Triton's interpreter, on a CPU, against its twin in float64; on a GPU in `test_cuda.py`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from packaging.version import Version

from pipelines.training.loss import chunk_slopes
from pipelines.training.step import slopes_for

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


def _interpreter_works() -> bool:
    """Triton before 3.7 interprets no kernel under NumPy 2.3 and later."""
    return importlib.util.find_spec("triton") is not None and Version(version("triton")) >= Version("3.7")


@pytest.mark.skipif(not _interpreter_works(), reason="needs Triton 3.7 or later (pip install 'triton>=3.7')")
def test_the_kernel_equals_its_twin_in_the_interpreter() -> None:
    """In a process of its own: the interpreter is chosen before Triton is loaded."""
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "equal", done.stderr


def test_a_cpu_gets_the_twin() -> None:
    assert slopes_for(torch.device("cpu")) is chunk_slopes
