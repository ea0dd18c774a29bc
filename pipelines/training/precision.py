"""Where a training job computes and in which arithmetic: `auto` resolved once, before the model is built.

Knows devices and dtypes; nothing of models or data. A wish the device cannot meet is refused, never swapped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from curator.errors import RecipeError
from pipelines.training.kinds import Device, Precision

__all__ = ["Capabilities", "Placement", "cpu_threads", "place", "present"]

_AUTOCAST: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Capabilities:
    """What the machine has."""

    cuda: bool
    cuda_bf16: bool


@dataclass(frozen=True)
class Placement:
    """The decision. Weights and optimiser state are float32 everywhere; `precision` is that of the products."""

    device: torch.device
    precision: Literal["fp32", "bf16", "fp16"]

    @property
    def autocast(self) -> AbstractContextManager[object]:
        """The context a forward pass runs under."""
        dtype = _AUTOCAST[self.precision]
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype=dtype)

    @property
    def scales_loss(self) -> bool:
        """float16 gradients underflow without loss scaling (Micikevicius et al. 2018, arXiv 1710.03740)."""
        return self.precision == "fp16"


@contextmanager
def cpu_threads(number: int) -> Iterator[None]:
    """Within it PyTorch computes on the CPU with that many threads; the number before is put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def present() -> Capabilities:
    """This machine's capabilities."""
    cuda = torch.cuda.is_available()
    return Capabilities(cuda=cuda, cuda_bf16=cuda and torch.cuda.is_bf16_supported(including_emulation=False))


def place(device: Device, precision: Precision, capabilities: Capabilities | None = None) -> Placement:
    """`auto` device: CUDA where there is one; `auto` precision: bf16 on CUDA that has it, fp16 on older, fp32 on CPU.

    Raises RecipeError when CUDA or CUDA bf16 is asked for by name and absent.
    """
    has = capabilities or present()
    kind = device if device != "auto" else "cuda" if has.cuda else "cpu"
    if kind == "cuda" and not has.cuda:
        raise RecipeError(
            "device: cuda was asked for and this machine has none; training on another device was not asked for. "
            "Use `device: auto` or `device: cpu`."
        )
    if precision == "auto":
        chosen: Precision = "fp32" if kind == "cpu" else "bf16" if has.cuda_bf16 else "fp16"
    else:
        chosen = precision
    if chosen == "bf16" and kind == "cuda" and not has.cuda_bf16:
        raise RecipeError(
            "precision: bf16 was asked for and this GPU has no bf16 units. Use `precision: auto` or fp16."
        )
    assert chosen != "auto"
    return Placement(torch.device(kind), chosen)
