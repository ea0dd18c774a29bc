"""Which attention kernels serve a job: chosen once for the process, before anything is compiled, and seen to run.

Knows devices and PyTorch's backends; nothing of models or data.

torch.compile keys neither its graphs nor its caches on the backend of scaled-dot-product attention (pytorch PR 185511):
a backend switched between two jobs of a process would leave the first job's kernels in place. So the order is set for
the process, the compiler's cache on disk carries its name, and `observed` asks the profiler what was launched.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import cache
from typing import Any, Final

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from pipelines.training.attention import attend
from pipelines.training.spans import Kernel, Spans, spans, window_spans

__all__ = ["FAMILIES", "family", "for_process", "kernel_for_spans", "observed", "probe"]

_ORDER: Final = (
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
)
"""On an H200, forward and backward at 8,192 positions: cuDNN 1.6 to 1.7 times as fast as FlashAttention 2."""

_held: Final = ExitStack()
"""keeps the order set until the process ends"""

FAMILIES: Final = {
    "cudnn": ("cudnn",),
    "flex": ("triton_tem", "flex_attention"),
    "flash": ("flash",),
    "efficient": ("fmha_cutlass", "efficient_attention"),
    "math": ("softmax",),
}
"""What a kernel's name must contain, first match first."""


@cache
def for_process() -> str:
    """Sets the order of the backends, cuDNN first, and the compiler's cache, once. Returns the first one's name."""
    name = "cudnn" if torch.cuda.is_available() else "cpu"
    if name == "cudnn":
        _held.enter_context(sdpa_kernel(list(_ORDER), set_priority=True))
    base = os.environ.get("TORCHINDUCTOR_CACHE_DIR") or os.path.join(
        tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}"
    )
    if os.path.basename(base) != f"attention-{name}":  # a process started by one that has chosen inherits the folder
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.path.join(base, f"attention-{name}")
    return name


def kernel_for_spans(device: torch.device, dtype: torch.dtype, *, compiled: bool = False) -> Kernel:
    """On CUDA FlexAttention where the model is compiled and sequences are whole blocks, as it is quicker; else varlen,
    which needs no compiling and knows 16 bits alone. The T×T mask elsewhere, where FlexAttention has no backward and
    varlen no kernel."""
    if device.type != "cuda":
        return "mask"
    return "varlen" if dtype in (torch.bfloat16, torch.float16) and not compiled else "flex"


def family(names: Iterable[str]) -> str:
    """The family of the first kernel name that tells; "other" where none does."""
    lowered = [name.lower() for name in names]
    for found, marks in FAMILIES.items():
        if any(mark in name for name in lowered for mark in marks):
            return found
    return "other"


def observed(run: Callable[[], Any]) -> tuple[str, ...]:
    """The names of the CUDA kernels that `run` launches, as the profiler saw them."""
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as seen:  # or it warns of a next cycle
        run()
        torch.cuda.synchronize()
    return tuple(event.key for event in seen.key_averages())


def probe(
    device: torch.device,
    dtype: torch.dtype,
    *,
    heads: int,
    width: int,
    length: int,
    packed: bool = False,
    padded: bool = False,
    causal: bool,
    window: int | None = None,
    compiled: bool = False,
) -> str:
    """The family of kernels that serves a job's attention: seen by the profiler on CUDA, forward and backward of one
    row of noise; "cpu" on a CPU. `padded`: with a mask of keys. A row under 64 positions is probed at 64.
    """
    if device.type != "cuda":
        return "cpu"
    shape, kernel = (1, heads, max(length, 64), width), kernel_for_spans(device, dtype, compiled=compiled)
    row: Spans | None = None
    if packed:
        row = spans([[shape[2] // 2, shape[2] - shape[2] // 2]], shape[2], kernel=kernel, window=window)
    elif window is not None:
        row = window_spans(1, shape[2], window, kernel=kernel)
    where = None if row is None else row.each(lambda tensor: tensor.to(device))
    draws = torch.Generator(device).manual_seed(0)
    noise = torch.randn(shape, generator=draws, device=device, dtype=dtype, requires_grad=True)

    keys = torch.arange(shape[2], device=device)[None] < shape[2] - 1 if padded else None

    def once() -> None:
        attend(noise, noise, noise, causal=causal, keys_BT=keys, spans=where).sum().backward()

    once()
    return family(observed(once))
