"""Training that knows how its weights will be stored: the model computes with rounded ones, the gradient moves those
behind them.

Knows modules and precisions; nothing of gates, teachers or rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from pipelines.training.compress.recipe import Precision
from pipelines.training.compress.weights import stored

__all__ = ["rounded"]


class _Rounded(nn.Module):
    """What would be read back; its gradient is passed on as it is (Bengio et al. 2013, arXiv 1308.3432, section 4, the
    straight-through estimator; of weights as in Jacob et al. 2018, arXiv 1712.05877, section 3)."""

    def __init__(self, precision: Precision):
        super().__init__()
        self._precision = precision

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (stored(weight.detach(), self._precision).wide() - weight.detach())


@contextmanager
def rounded(model: nn.Module, plan: Mapping[str, Precision]) -> Iterator[None]:
    """Within it every parameter computes as the plan stores it; afterwards it is what learning made of it, in full."""
    places: list[tuple[Any, str]] = []
    try:
        for name, precision in plan.items():
            parent, _, leaf = name.rpartition(".")
            places.append((model.get_submodule(parent), leaf))
            parametrize.register_parametrization(*places[-1], _Rounded(precision))
        yield
    finally:
        for module, leaf in places:
            if parametrize.is_parametrized(module, leaf):
                parametrize.remove_parametrizations(module, leaf, leave_parametrized=False)
