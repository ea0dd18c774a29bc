"""The choice of attention kernels on a CPU: a fixed one, told as such; names of kernels to families."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipelines.training.kernels import family, kernel_for_spans, probe


@pytest.mark.parametrize(
    ("device", "dtype", "compiled", "kernel"),
    [
        ("cpu", torch.float32, False, "mask"),
        ("cpu", torch.bfloat16, True, "mask"),
        ("cuda", torch.bfloat16, False, "varlen"),
        ("cuda", torch.float16, False, "varlen"),
        ("cuda", torch.bfloat16, True, "flex"),
        ("cuda", torch.float32, False, "flex"),
    ],
)
def test_spans_are_served_by(device: str, dtype: torch.dtype, compiled: bool, kernel: str) -> None:
    assert kernel_for_spans(torch.device(device), dtype, compiled=compiled) == kernel


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cudnn_generated_fort_native_sdpa_sm90_flash_bprop_wgmma_f16_knob_26_64x64x64", "cudnn"),
        ("void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128, 128, 4>>", "flash"),
        ("triton_tem_fused_0", "flex"),
        ("fmha_cutlassF_bf16_aligned_64x64_rf_sm80(PyTorchMemEffAttention)", "efficient"),
        ("void (anonymous namespace)::softmax_warp_forward<float, float>", "math"),
        ("nvjet_sm90_tst_256x128_64x4_1x2_h_bz_coopA_NNT", "other"),
    ],
)
def test_families_by_name(name: str, expected: str) -> None:
    assert family(["nvjet_sm90", name]) == expected


def test_a_cpu_is_not_probed() -> None:
    cpu = torch.device("cpu")
    found = probe(cpu, torch.float32, heads=2, width=8, length=16, packed=True, causal=True, window=None)
    assert found == "cpu"


def test_the_compilers_cache_carries_the_choice() -> None:
    """In a process of its own: the choice is made once for each."""
    code = "import os; from pipelines.training.kernels import for_process as f; n = f(); assert f() is n; "
    code += "print(n, os.environ['TORCHINDUCTOR_CACHE_DIR'])"
    environment = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    name, folder = done.stdout.split()
    assert name == ("cudnn" if torch.cuda.is_available() else "cpu") and folder.endswith(f"attention-{name}")
