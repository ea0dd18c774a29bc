"""What a student is taught: its teacher's scores, its teacher's hidden states, and the label.

Knows two models and a batch; nothing of rows, optimisers or gates.

Legend: B batch, T positions, D width, C classes; image blocks give [B, channels, S, S].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.training.compress.scoring import run_of
from pipelines.training.feed import TensorBatch

__all__ = ["Distillation", "hidden_loss", "logit_loss"]


class Distillation(nn.Module):
    """A student and the projections by which its hidden states are compared; only the student is kept.

    loss = λ·KL + (1 - λ)·cross-entropy + hidden·(mean over mapped layers of `hidden_loss`), λ = `logits`.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        *,
        temperature: float,
        logits: float,
        hidden: float = 0.0,
        pairs: Sequence[tuple[int, int]] = (),
    ):
        """`pairs`: (block of the student, block of the teacher). Projections draw nothing: they begin as the leading
        coordinates."""
        super().__init__()
        self.student = student
        self._teacher = [teacher.eval().requires_grad_(False)]  # in a list: no part of what is trained
        self._temperature, self._logits, self._hidden = temperature, logits, hidden
        self._pairs = list(pairs) if hidden else []
        self.projections = nn.ModuleList(
            _projection(student.blocks[own], teacher.blocks[theirs]) for own, theirs in self._pairs
        )

    def forward(self, batch: TensorBatch) -> Tensor:
        teacher = self._teacher[0].to(batch.inputs.device)
        with torch.no_grad(), _Heard(teacher, [theirs for _, theirs in self._pairs]) as theirs:
            wanted_BC = run_of(teacher)(batch.inputs, batch.keys_BT)
        with _Heard(self.student, [own for own, _ in self._pairs]) as own:
            scores_BC = run_of(self.student)(batch.inputs, batch.keys_BT)
        loss = self._logits * logit_loss(scores_BC, wanted_BC, self._temperature)
        loss = loss + (1 - self._logits) * F.cross_entropy(scores_BC, batch.targets)
        for projection, ours, goal in zip(self.projections, own.states, theirs.states, strict=True):
            loss = loss + self._hidden / len(self._pairs) * hidden_loss(projection(ours), goal, batch.keys_BT)
        return loss


def logit_loss(scores_BC: Tensor, wanted_BC: Tensor, temperature: float) -> Tensor:
    """τ²·KL(softmax(wanted/τ) ‖ softmax(scores/τ)), the mean over rows (Hinton et al. 2015, arXiv 1503.02531, section
    2: τ² keeps the gradients' size)."""
    ours, theirs = ((x_BC / temperature).log_softmax(dim=1) for x_BC in (scores_BC, wanted_BC))
    return temperature**2 * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def hidden_loss(ours: Tensor, goal: Tensor, keys_BT: Tensor | None) -> Tensor:
    """Mean squared difference over the mean square of the goal: 1 for a student that says nothing, whatever the scale.
    [B, T, D] over real positions, or [B, channels, S, S]."""
    if keys_BT is not None and ours.ndim == 3:
        ours, goal = ours[keys_BT], goal[keys_BT]
    return (ours - goal).square().mean() / goal.square().mean().clamp(min=1e-12)


class _Heard:
    """Within it, `states` gets the outputs of these blocks, in the order named."""

    def __init__(self, model: Any, blocks: Sequence[int]):
        self._blocks, self._found = [model.blocks[index] for index in blocks], dict[int, Tensor]()

    def __enter__(self) -> _Heard:
        self._handles = [block.register_forward_hook(self._hear) for block in set(self._blocks)]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hear(self, block: nn.Module, _: Any, output: Tensor) -> None:
        self._found[id(block)] = output

    @property
    def states(self) -> list[Tensor]:
        return [self._found[id(block)] for block in self._blocks]


def _projection(own: Any, theirs: Any) -> nn.Module:
    """From the student's width to the teacher's: nothing where they are the same."""
    narrow, wide = (block.out.weight.shape[0] for block in (own, theirs))
    if narrow == wide:
        return nn.Identity()
    image = isinstance(own.out, nn.Conv2d)
    made: Any = nn.Conv2d(narrow, wide, 1, bias=False) if image else nn.Linear(narrow, wide, bias=False)
    with torch.no_grad():
        made.weight.copy_(torch.eye(wide, narrow).view_as(made.weight))
    return made
