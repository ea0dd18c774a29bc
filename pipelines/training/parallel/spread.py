"""How a model lies on the ranks, as the learner sees it; and the plain case, the whole of it here.

Knows modules and tensors; nothing of rows, recipes or files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from curator.errors import IntegrityError
from curator.storage import Store

__all__ = ["Spread", "Traffic", "Whole"]


@dataclass
class Traffic:
    """What this rank has sent to others for the sake of learning."""

    bytes_sent: int = 0
    exchange_s: float = 0.0
    """seconds that exchanges took, beside learning"""
    waited_s: float = 0.0
    """of these, seconds that learning waited for one"""


class Spread(Protocol):
    """A way to lie on ranks. `lay` comes first, before there is an optimiser."""

    traffic: Traffic

    def lay(self, objective: nn.Module, model: nn.Module) -> nn.Module:
        """What is to be called in place of the objective, whose model it may cut, move or watch."""
        ...

    def held(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """What the optimiser of this rank moves, by name: its parameters, or its slices of them."""
        ...

    def average(self) -> None:
        """After the backward pass: ranks that have not yet exchanged their gradients may do so. They are still scaled,
        where float16 scales its loss: what overflows on one rank does on all."""
        ...

    def clip(self, held: dict[str, nn.Parameter], limit: float) -> Tensor:
        """Scales the gradient down to that norm where it is longer; its norm before. Comes before every update: what
        is held has its gradients from here on."""
        ...

    def begin(self) -> int | None:
        """Before the first step of a process: the step it goes on from, where another rank says so."""
        ...

    def rehearse(self, backward: Callable[[], object]) -> None:
        """Before a step: may compute its gradients once without their counting."""
        ...

    def mean(self, share: Tensor) -> Tensor:
        """The mean over the ranks of a number on the device."""
        ...

    def pooled(self, losses: Tensor) -> Tensor:
        """The losses of pieces that lie on one rank each, and are NaN on the others."""
        ...

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """The model's parameters, whole; every rank asks."""
        ...

    def stepped(self, step: int) -> None:
        """After the optimiser has taken that step (1-based)."""
        ...

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint, beside the weights and their moments; every rank asks."""
        ...

    def load(self, state: dict[str, Tensor]) -> None: ...

    def write(self, store: Store, step: int, tensors: dict[str, Tensor]) -> tuple[str | None, dict[str, Tensor]]:
        """Writes this rank's part of a checkpoint, if ranks have parts: (their folder, what is left for the one file
        that all share); every rank writes."""
        ...

    def read(self, store: Store, parts: str, tensors: dict[str, Tensor]) -> None:
        """Fills the learner's tensors from such a folder. Raises IntegrityError."""
        ...


class Whole:
    """All of it in one process."""

    def __init__(self) -> None:
        self.traffic = Traffic()

    def lay(self, objective: nn.Module, model: nn.Module) -> nn.Module:
        return objective

    def held(self, model: nn.Module) -> dict[str, nn.Parameter]:
        return dict(model.named_parameters())

    def average(self) -> None:
        pass

    def clip(self, held: dict[str, nn.Parameter], limit: float) -> Tensor:
        return nn.utils.clip_grad_norm_(held.values(), limit, foreach=True)

    def begin(self) -> int | None:
        return None

    def rehearse(self, backward: Callable[[], object]) -> None:
        pass

    def mean(self, share: Tensor) -> Tensor:
        return share

    def pooled(self, losses: Tensor) -> Tensor:
        return losses

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        return model.state_dict()

    def stepped(self, step: int) -> None:
        pass

    def state(self) -> dict[str, Tensor]:
        return {}

    def load(self, state: dict[str, Tensor]) -> None:
        pass

    def write(self, store: Store, step: int, tensors: dict[str, Tensor]) -> tuple[str | None, dict[str, Tensor]]:
        return None, tensors

    def read(self, store: Store, parts: str, tensors: dict[str, Tensor]) -> None:
        raise IntegrityError(f"{parts} in {store.uri} is of a model that lies in parts, and this one is whole")
