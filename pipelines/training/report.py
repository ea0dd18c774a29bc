"""What a training job says about itself: a record for each step, running counts, and the report at the end.

Values only; knows no models and no files.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["StepRecord", "Tally", "TrainingReport"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StepRecord(_Frozen):
    """One step, as `on_step` gets it, in order."""

    epoch: int
    step: int
    """steps done, this one included"""
    total_steps: int
    loss: float
    """mean of the batch before the update; nats"""
    learning_rate: float
    gradient_norm: float
    """before clipping"""
    num_samples: int


class Tally(_Frozen):
    """What has been counted since step 0, across resumes. Nothing a row loses on its way is uncounted."""

    num_samples: int = 0
    num_tokens: int = 0
    num_truncated: int = 0
    bytes_truncated: int = 0
    num_resized: int = 0
    num_without_target: int = 0
    num_skipped_steps: int = 0
    last_loss: float | None = None
    epoch_loss: float = 0.0
    """sum over samples of the epoch under way"""
    epoch_samples: int = 0
    losses: tuple[float, ...] = ()
    """mean training loss of each whole epoch"""
    seconds: float = 0.0


class TrainingReport(_Frozen):
    """The outcome of a training job; what `winnow train --json` prints."""

    training_job: str
    manifest: str
    plan: str
    kind: Literal["text-classifier", "image-classifier", "language-model"]
    finished: bool
    """false: it was asked to stop and goes on from its checkpoint"""
    epochs: int
    """whole epochs done"""
    steps: int
    total_steps: int
    resumed_from: int | None
    """the step of the checkpoint this process began with; None: from scratch"""
    num_classes: int | None
    num_parameters: int
    losses: tuple[float, ...]
    last_loss: float | None
    num_samples: int
    num_tokens: int
    num_truncated: int
    """rows cut to the context"""
    bytes_truncated: int
    num_resized: int
    """images that had another size"""
    num_without_target: int
    """rows of a language model whose text lies beyond the context: nothing learned, no feedback"""
    num_skipped_steps: int
    """float16 overflows"""
    device: str
    precision: str
    seconds: float
    samples_per_s: float
    peak_memory_bytes: int
    """allocated on the GPU at most, or resident on the CPU at most"""
    checkpoint: str | None
    model: str | None
    """the weights of a finished job"""
