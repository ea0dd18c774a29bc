"""Precision by layer: how much the scores move when one matrix is narrow, and the plan that moves them least for the
bytes.

Knows a candidate's weights and calibration rows; nothing of gates or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from curator.errors import RecipeError
from pipelines.training.compress.candidate import Candidate, with_weights
from pipelines.training.compress.recipe import Precision
from pipelines.training.compress.scoring import run_of
from pipelines.training.compress.weights import halves, num_bytes, plan_of, stored, widened
from pipelines.training.feed import TensorBatch

__all__ = ["budgeted", "sensitivities", "uniform_bytes"]

_NARROWER: Final[dict[Precision, Precision]] = {"fp16": "int8", "int8": "int4"}

Costs = Mapping[tuple[str, Precision], float]


def sensitivities(candidate: Candidate, batches: Sequence[TensorBatch]) -> dict[tuple[str, Precision], float]:
    """For each matrix and precision the mean KL(scores as they are ‖ scores with that matrix alone narrow), in nats.

    Measured, not modelled: what a Hessian's trace stands for in HAWQ-V2 (Dong et al. 2020, arXiv 1911.03852).
    """
    tensors = widened(candidate.weights)
    expected = _log_scores(candidate, batches)
    found: dict[tuple[str, Precision], float] = {}
    for name, tensor in tensors.items():
        for precision in _choices(tensor):
            narrow = {**candidate.weights, name: stored(tensor, precision)}
            scores = _log_scores(with_weights(candidate.trained, narrow), batches)
            found[name, precision] = float(F.kl_div(scores, expected, reduction="batchmean", log_target=True))
    return found


def budgeted(tensors: Mapping[str, Tensor], costs: Costs, budget_bytes: float) -> dict[str, Precision]:
    """The plan: all in fp16, then the step to fewer bits that costs least for each byte it saves, until the bytes fit.

    Costs of several matrices are taken to add up. Raises RecipeError for a budget below everything at its narrowest.
    """
    plan: dict[str, Precision] = {name: "fp16" for name in tensors}
    sizes = {
        (name, precision): num_bytes({name: stored(tensor, precision)})
        for name, tensor in tensors.items()
        for precision in _choices(tensor)
    }
    total = sum(sizes[name, "fp16"] for name in tensors)
    while total > budget_bytes:
        steps = [
            ((costs[name, to] - costs[name, now]) / (sizes[name, now] - sizes[name, to]), name, to)
            for name, now in plan.items()
            if (to := _NARROWER.get(now)) is not None and (name, to) in sizes
        ]
        if not steps:
            raise RecipeError(
                f"quantise.adaptive.budget: {budget_bytes:,.0f} bytes are fewer than the {total:,} of every matrix at "
                "its narrowest; raise the budget"
            )
        _, name, to = min(steps)
        total, plan[name] = total - sizes[name, plan[name]] + sizes[name, to], to
    return plan


def uniform_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Of all weights in int8."""
    plan = plan_of(tensors, "int8")
    return num_bytes({name: stored(tensor, plan[name]) for name, tensor in tensors.items()})


def _choices(tensor: Tensor) -> tuple[Precision, ...]:
    if tensor.ndim < 2:
        return ("fp16",)
    return ("fp16", "int8", "int4") if halves(tensor) else ("fp16", "int8")


def _log_scores(candidate: Candidate, batches: Sequence[TensorBatch]) -> Tensor:
    run = run_of(candidate.trained.model.eval())
    with torch.no_grad():
        return torch.cat([run(batch.inputs, batch.keys_BT) for batch in batches]).double().log_softmax(1)
