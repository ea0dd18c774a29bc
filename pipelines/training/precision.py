"""Where a training job computes and in which arithmetic: `auto` resolved once, before the model is built.

Knows devices and dtypes; nothing of models or data. A wish the device cannot meet is refused, never swapped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch

from curator.errors import RecipeError
from pipelines.training.kinds import Device, Precision, Regions, TrainingRecipe

__all__ = [
    "PLAIN",
    "Arithmetic",
    "Capabilities",
    "Placement",
    "cpu_threads",
    "place",
    "place_recipe",
    "present",
    "region",
]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Arithmetic(NamedTuple):
    """The dtype of each part of a transformer; None: whatever the context around it says."""

    residual: torch.dtype | None = None
    attention: torch.dtype | None = None
    feed_forward: torch.dtype | None = None
    loss: torch.dtype | None = None


PLAIN = Arithmetic()


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
    regions: Regions = field(default_factory=Regions)

    @property
    def autocast(self) -> AbstractContextManager[object]:
        """The context a forward pass runs under."""
        return nullcontext() if self.precision == "fp32" else region(self.device.type, _DTYPES[self.precision])

    @property
    def arithmetic(self) -> Arithmetic:
        """What differs inside that context. A bf16 stream between blocks has the range of float32, an fp16 one not."""
        wish = self.regions
        residual = ("bf16" if self.precision == "bf16" else "fp32") if wish.residual == "auto" else wish.residual
        parts = (wish.attention, wish.feed_forward, wish.loss)
        own = [None if part in ("same", self.precision) else _DTYPES[part] for part in parts]
        return Arithmetic(_DTYPES[residual], *own)

    @property
    def dtype(self) -> torch.dtype:
        """that of the products"""
        return _DTYPES[self.precision]

    @property
    def attention_dtype(self) -> torch.dtype:
        return self.arithmetic.attention or self.dtype

    @property
    def scales_loss(self) -> bool:
        """float16 gradients underflow without loss scaling (Micikevicius et al. 2018, arXiv 1710.03740)."""
        return self.precision == "fp16" or "fp16" in self.regions.model_dump().values()


def region(device_type: str, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """A part of a forward pass whose products run in `dtype`; None: as around it. In float32 its inputs must be so."""
    if dtype is None:
        return nullcontext()
    if dtype == torch.float32:
        return torch.autocast(device_type, enabled=False)
    return torch.autocast(device_type, dtype=dtype)


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


def place_recipe(recipe: TrainingRecipe) -> Placement:
    """Where and in which arithmetic a recipe computes on this machine; see `place`."""
    return place(recipe.device, recipe.precision, regions=getattr(recipe, "regions", Regions()))


def place(
    device: Device,
    precision: Precision,
    capabilities: Capabilities | None = None,
    regions: Regions = Regions(),  # noqa: B008  (frozen)
) -> Placement:
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
    if "bf16" in (chosen, *regions.model_dump().values()) and kind == "cuda" and not has.cuda_bf16:
        raise RecipeError(
            "precision: bf16 was asked for and this GPU has no bf16 units. Use `precision: auto` or fp16."
        )
    assert chosen != "auto"
    return Placement(torch.device(kind), chosen, regions)
