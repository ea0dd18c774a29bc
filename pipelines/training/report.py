"""What a training job says about itself: a record for each step, running counts, and the report at the end.

Values only; knows no models and no files.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipelines.training.memory import AllocatorFigures
from pipelines.training.meters import Pace

__all__ = ["StepRecord", "Tally", "TrainingReport", "progress_line"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StepRecord(_Frozen):
    """One step, as `on_step` gets it, in order."""

    epoch: int
    step: int
    """steps done, this one included"""
    total_steps: int
    """of a packed job an estimate, until its last step"""
    loss: float
    """mean of the batch before the update; nats"""
    learning_rate: float
    gradient_norm: float
    """before clipping"""
    num_samples: int
    """rows whose loss is known with this step"""
    pace: Pace
    """over the last steps, up to 20"""
    memory_bytes: int
    """allocated on the GPU at most since the first three steps, or resident on the CPU at most"""


def progress_line(record: StepRecord) -> str:
    """`epoch 0 step 40/480: loss 2.1034, 471k tokens/s, 47% of the matmul rate, waited 0.2%, 15.1 GiB`."""
    pace = record.pace
    speed = f"{_short(pace.tokens_per_s)} tokens/s" if pace.tokens_per_s else f"{_short(pace.samples_per_s)} rows/s"
    return (
        f"epoch {record.epoch} step {record.step}/{record.total_steps}: loss {record.loss:.4f}, {speed}, "
        f"{pace.mfu:.0%} of the matmul rate, waited {pace.waited:.1%}, {record.memory_bytes / 2**30:.1f} GiB"
    )


def _short(number: float) -> str:
    return f"{number / 1e3:.0f}k" if number >= 1e4 else f"{number:.0f}"


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
    """of this rank"""

    def counts(self) -> dict[str, float]:
        """What adds up over ranks."""
        return {name: float(getattr(self, name)) for name in _COUNTS}

    @staticmethod
    def counted(counts: dict[str, float]) -> dict[str, float]:
        """`counts` with whole numbers whole again."""
        return {name: value if name == "epoch_loss" else round(value) for name, value in counts.items()}

    def plus(self, later: Tally) -> Tally:
        """With what was counted since."""
        sums = {name: getattr(self, name) + getattr(later, name) for name in (*_COUNTS, "num_skipped_steps", "seconds")}
        last = self.last_loss if later.last_loss is None else later.last_loss
        return self.model_copy(update={**sums, "last_loss": last})


_COUNTS = (
    "num_samples", "num_tokens", "num_truncated", "bytes_truncated", "num_resized", "num_without_target",
    "epoch_loss", "epoch_samples",
)  # fmt: skip
"""Skipped steps are every rank's alike, and so is the last loss."""


class TrainingReport(_Frozen):
    """The outcome of a training job; what `winnow train --json` prints."""

    training_job: str
    manifest: str
    plan: str
    kind: Literal["text-classifier", "image-classifier", "language-model", "video-classifier"]
    finished: bool
    """false: it was asked to stop and goes on from its checkpoint"""
    epochs: int
    """whole epochs done"""
    steps: int
    total_steps: int
    """of a packed job that was stopped, an estimate"""
    resumed_from: int | None
    """the step of the checkpoint this process began with; None: from scratch"""
    num_classes: int | None
    num_parameters: int
    losses: tuple[float, ...]
    last_loss: float | None
    num_samples: int
    num_tokens: int
    num_truncated: int
    """rows cut to the context, clips to the frames"""
    bytes_truncated: int
    num_resized: int
    """images that had another size"""
    num_without_target: int
    """rows of a language model whose text lies beyond the context, or is none: nothing learned, no feedback"""
    num_skipped_steps: int
    """float16 overflows"""
    device: str
    precision: str
    attention: str | None
    """the kernels that serve it, as the profiler saw them run: cudnn, flash, flex …; cpu; None where there is none"""
    rank: int = 0
    world_size: int = 1
    bytes_sent: int = 0
    """by this rank to others in this process's steps: gradients, or what the model has moved"""
    exchange_s: float = 0.0
    """that exchanges of ranks which do not step together took, beside learning"""
    waited_s: float = 0.0
    """of these, that learning waited"""
    lost_ranks: tuple[int, ...] = ()
    """that gave no sign of life at the end; what they would have read was not learned"""
    seconds: float
    samples_per_s: float
    pace: Pace | None
    """of this process's steps after its first three; None where there is none"""
    matmul_flops_per_s: float
    """the device's rate in a large matrix product, measured when the job began: what `pace.mfu` is a share of"""
    allocator: AllocatorFigures | None
    """of this process's steps after its first three; None on a CPU"""
    peak_memory_bytes: int
    """allocated on the GPU at most, by this process since its first three steps; or resident on the CPU at most"""
    checkpoint: str | None
    model: str | None
    """the weights of a finished job"""
