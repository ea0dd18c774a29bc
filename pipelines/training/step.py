"""One step of learning: forward under the chosen arithmetic, backward, clip, AdamW; the loss of every row comes out.

Knows models and tensors; nothing of rows, epochs, schedules or files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.training.feed import TensorBatch
from pipelines.training.kernels import for_process
from pipelines.training.kinds import Optimiser
from pipelines.training.loss import Slopes, chunk_slopes, chunked_cross_entropy, document_means, row_means
from pipelines.training.model import Model
from pipelines.training.parallel.spread import Spread, Whole
from pipelines.training.precision import Arithmetic, Placement
from pipelines.training.transformer import CausalTransformer, EncoderClassifier
from pipelines.training.video_model import VideoEncoder

__all__ = ["Learner", "Losses", "Objective", "StepResult", "losses", "parameter_groups", "slopes_for"]


class Losses(NamedTuple):
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
        if isinstance(model, VideoEncoder):
            return _of_rows(model(batch.inputs, batch.keys_BT), batch)
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


class Objective(nn.Module):
    """A model and the loss it is judged by, as one module: what is spread over ranks sees one forward pass."""

    def __init__(self, model: Model, placement: Placement, slopes: Slopes):
        super().__init__()
        self.model, self._placement, self._slopes = model, placement, slopes

    def forward(self, batch: TensorBatch) -> Losses:
        return losses(self.model, batch, self._placement, self._slopes)


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
        spread: Spread | None = None,
    ):
        """`spread`: how the model lies on the ranks; by default it is whole, and here."""
        for_process()
        if compile_with is not None:
            for block in model.blocks:
                block.compile(backend=compile_with)
            if isinstance(model, CausalTransformer):
                model.norm.compile(backend=compile_with)
        self.model, self.placement, self.clip_norm = model, placement, optimiser.clip_norm
        self.spread: Spread = spread or Whole()
        self._objective = self.spread.lay(Objective(model, placement, slopes_for(placement.device)), model)
        self.held = self.spread.held(model)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(model, optimiser.weight_decay, self.held),
            lr=optimiser.learning_rate,
            betas=(optimiser.beta_1, optimiser.beta_2),
            fused=True,
        )
        self.scaler = torch.amp.GradScaler(placement.device.type, enabled=placement.scales_loss)

    def step(self, batch: TensorBatch, learning_rate: float, weight: float = 1.0) -> StepResult:
        """One update from a batch that is already on the device.

        `weight`: of this rank's mean loss in the mean over the ranks, which is the step's.
        """
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.spread.rehearse(lambda: self._gradients(batch, weight))
        found = self._gradients(batch, weight)
        self.spread.average()
        self.scaler.unscale_(self.optimizer)
        norm = self.spread.clip(self.held, self.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        skipped = ~torch.isfinite(norm) & self.placement.scales_loss
        mean = self.spread.mean(found.mean.detach() * weight)
        per_sample_B = found.per_sample_B if batch.rows is None else self.spread.pooled(found.per_sample_B)
        return StepResult(per_sample_B, found.correct_B, mean, norm, skipped)

    def weights(self) -> dict[str, Tensor]:
        """The model's parameters, whole, by name; every rank asks."""
        return self.spread.weights(self.model)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds of it, by name: slices where the model lies in slices. Every rank asks."""
        found = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        for name, parameter in self.held.items():
            for moment, tensor in self.optimizer.state[parameter].items():
                found[f"optimiser/{name}/{moment}"] = tensor
        return found | {f"spread/{name}": tensor for name, tensor in self.spread.state().items()}

    def begin_moments(self) -> None:
        """Gives every parameter the moments it has before its first step, for a checkpoint to fill."""
        for parameter in self.held.values():
            moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            self.optimizer.state[parameter] = {"step": torch.zeros((), device=parameter.device), **moments}

    def _gradients(self, batch: TensorBatch, weight: float) -> Losses:
        self.optimizer.zero_grad(set_to_none=True)
        found: Losses = self._objective(batch)
        self.scaler.scale(found.mean * weight).backward()
        return found


def slopes_for(device: torch.device) -> Slopes:
    """The loss of a chunk of logits and its slopes: one Triton kernel on CUDA, its plain twin elsewhere."""
    if device.type != "cuda":
        return chunk_slopes
    from pipelines.training.loss_kernel import in_place_slopes

    return in_place_slopes


def parameter_groups(
    model: nn.Module, weight_decay: float, held: dict[str, nn.Parameter] | None = None
) -> list[dict[str, object]]:
    """Matrices and kernels decay; embeddings, gains and biases do not. `held`: what stands for the model's parameters,
    by name."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    own = dict(model.named_parameters())
    plain = {name for name, parameter in own.items() if parameter.ndim < 2 or id(parameter) in embeddings}
    decayed = [parameter for name, parameter in (held or own).items() if name not in plain]
    rest = [parameter for name, parameter in (held or own).items() if name in plain]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
