"""One step of learning: forward under the chosen arithmetic, backward, clip, AdamW; the loss of every row comes out.

Knows models and tensors; nothing of rows, epochs, schedules or files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.training.feed import TensorBatch
from pipelines.training.kernels import for_process
from pipelines.training.kinds import Optimiser
from pipelines.training.loss import Slopes, chunk_slopes, chunked_cross_entropy, document_means, row_means
from pipelines.training.model import Model
from pipelines.training.precision import Arithmetic, Placement
from pipelines.training.transformer import CausalTransformer, EncoderClassifier

__all__ = ["Learner", "Losses", "StepResult", "losses", "parameter_groups", "slopes_for"]


@dataclass(frozen=True)
class Losses:
    """`mean` carries the gradient; the rest is detached, on the model's device."""

    mean: Tensor
    per_sample_B: Tensor
    """float32[B]; of a text in a language model: the mean over its tokens, in nats; of packed texts: for each piece"""
    correct_B: Tensor | None
    """bool[B]; None where rows have no class"""


@dataclass(frozen=True)
class StepResult:
    """What a step saw, before it changed the model. Tensors stay on the device until somebody reads them."""

    per_sample_B: Tensor
    correct_B: Tensor | None
    mean: Tensor
    gradient_norm: Tensor
    skipped: Tensor
    """bool: float16 gradients overflowed: the scale was halved and no weight moved"""


def losses(model: Model, batch: TensorBatch, placement: Placement, slopes: Slopes = chunk_slopes) -> Losses:
    """The losses of a batch in float32, under the placement's arithmetic. `slopes`: of a language model's loss."""
    with placement.autocast:
        if isinstance(model, CausalTransformer):
            return _of_tokens(model, batch, placement.arithmetic, slopes)
        if isinstance(model, EncoderClassifier):
            return _of_rows(model(batch.inputs, batch.keys_BT, placement.arithmetic), batch)
        return _of_rows(model(batch.inputs), batch)


def _of_tokens(model: CausalTransformer, batch: TensorBatch, arithmetic: Arithmetic, slopes: Slopes) -> Losses:
    hidden_BTD = model(batch.inputs, batch.spans, context=batch.context, arithmetic=arithmetic)
    mean, per_position = chunked_cross_entropy(
        hidden_BTD.flatten(0, 1),
        model.head.weight,
        batch.targets.flatten(),
        slopes=slopes,
        dtype=arithmetic.loss,
    )
    if batch.document_BT is not None:
        return Losses(mean, document_means(per_position, batch.targets, batch.document_BT, len(batch)), None)
    return Losses(mean, row_means(per_position.view(batch.targets.shape), batch.targets), None)


def _of_rows(scores_BC: Tensor, batch: TensorBatch) -> Losses:
    per_sample_B = F.cross_entropy(scores_BC.float(), batch.targets, reduction="none")
    return Losses(per_sample_B.mean(), per_sample_B.detach(), scores_BC.detach().argmax(dim=1) == batch.targets)


class Learner:
    """A model with its optimiser and loss scaler: what a checkpoint saves.

    `compile_with`: a torch.compile backend. Each block is compiled in place (one graph serves all blocks of a shape,
    so that takes seconds where a whole model takes minutes); names of parameters stay. Attention's kernels are chosen
    before, once for the process (`kernels.py`).
    """

    def __init__(
        self,
        model: Model,
        optimiser: Optimiser,
        placement: Placement,
        *,
        compile_with: str | Callable[..., Any] | None = None,
    ):
        for_process()
        self._slopes: Slopes = slopes_for(placement.device)
        if compile_with is not None:
            for block in model.blocks:
                block.compile(backend=compile_with)
            if isinstance(model, CausalTransformer):
                model.norm.compile(backend=compile_with)
        self.model, self.placement, self.clip_norm = model, placement, optimiser.clip_norm
        self.optimizer = torch.optim.AdamW(
            parameter_groups(model, optimiser.weight_decay),
            lr=optimiser.learning_rate,
            betas=(optimiser.beta_1, optimiser.beta_2),
            fused=True,
        )
        self.scaler = torch.amp.GradScaler(placement.device.type, enabled=placement.scales_loss)

    def step(self, batch: TensorBatch, learning_rate: float) -> StepResult:
        """One update from a batch that is already on the device."""
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        found = losses(self.model, batch, self.placement, self._slopes)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(found.mean).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm, foreach=True)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        skipped = ~torch.isfinite(norm) & self.placement.scales_loss
        return StepResult(found.per_sample_B, found.correct_B, found.mean.detach(), norm, skipped)


def slopes_for(device: torch.device) -> Slopes:
    """The loss of a chunk of logits and its slopes: one Triton kernel on CUDA, its plain twin elsewhere."""
    if device.type != "cuda":
        return chunk_slopes
    from pipelines.training.loss_kernel import in_place_slopes

    return in_place_slopes


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices and kernels decay; embeddings, gains and biases do not."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    parameters = list(model.parameters())
    decayed = [p for p in parameters if p.ndim >= 2 and id(p) not in embeddings]
    rest = [p for p in parameters if p.ndim < 2 or id(p) in embeddings]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
