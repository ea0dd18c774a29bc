"""What a job has seen: every step's losses looked at once, counted, told of, and put together for each row.

Knows batches, readings and who listens; nothing of models, rows still to come or files.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from curator.errors import RunFailedError
from pipelines.training.clock import Clock, Reading, Underway
from pipelines.training.feed import TensorBatch
from pipelines.training.feedback import FeedbackBuffer
from pipelines.training.instruments import Instruments
from pipelines.training.parallel.ranks import ALONE, Ranks
from pipelines.training.report import StepRecord, Tally
from pipelines.training.row_losses import RowLosses, State

__all__ = ["Accounts", "OnStep", "Taken"]

OnStep = Callable[[StepRecord], None]


@dataclass(frozen=True)
class Taken:
    """A step given to the device."""

    batch: TensorBatch
    underway: Underway
    epoch: int
    step: int
    """1-based"""
    total_steps: int
    rate: float


class Accounts:
    """Of one job, from its checkpoint on."""

    def __init__(
        self,
        clock: Clock,
        feedback: FeedbackBuffer,
        instruments: Instruments,
        *,
        tally: Tally,
        row_losses: State | None = None,
        on_step: OnStep | None = None,
        ranks: Ranks = ALONE,
    ):
        self._agreed, self._since, self._ranks = tally, Tally(), ranks
        self._clock, self._feedback, self._instruments, self._on_step = clock, feedback, instruments, on_step
        self._row_losses = RowLosses(row_losses)
        self._taken: deque[Taken] = deque()
        self._began = time.monotonic()

    @property
    def tally(self) -> Tally:
        """Since step 0. On several ranks: of all of them up to the last `agree`, of this one since."""
        return self._agreed.plus(self._since)

    def begin(self) -> None:
        """The time that the tally counts runs from here."""
        self._began = time.monotonic()

    def add(self, taken: Taken) -> None:
        self._taken.append(taken)

    def settle(self, in_flight: int = 0) -> None:
        """Looks at what all but the last few steps saw. Raises RunFailedError for a loss that is not a number."""
        while len(self._taken) > in_flight:
            taken = self._taken.popleft()
            seen = self._clock.read(taken.underway)
            if not np.isfinite(seen.mean):
                raise RunFailedError(
                    f"the loss of step {taken.step} is {seen.mean}: the model is lost. The last checkpoint stands; "
                    "start over with a smaller learning_rate, or with precision bf16 or fp32."
                )
            sample_ids, losses = self._row_losses.settle(taken.batch, seen.losses)
            if taken.batch.rows is not None and not self._ranks.leads:  # packed: every rank sees the losses of all
                sample_ids, losses = sample_ids[:0], losses[:0]
            self._count(taken.batch, seen, losses)
            self._feedback.add(sample_ids, taken.epoch, taken.step, losses, seen.correct)
            self._tell(taken, seen, len(losses))

    def agree(self) -> None:
        """Every rank learns what all have counted; they wait for each other."""
        counts = self._since.counts()
        shared = dict(zip(counts, self._ranks.total(*counts.values()), strict=True))
        self._agreed = self._agreed.plus(self._since.model_copy(update=Tally.counted(shared)))
        self._since = Tally()

    def end_epoch(self) -> None:
        """The mean loss of the epoch that is over, all of it settled and agreed on."""
        tally = self._agreed
        mean = tally.epoch_loss / max(tally.epoch_samples, 1)
        self._agreed = tally.model_copy(update={"losses": (*tally.losses, mean), "epoch_loss": 0.0, "epoch_samples": 0})

    def flush(self) -> None:
        """Hands on what was told so far."""
        self._feedback.flush()
        self._instruments.flush()

    def row_losses(self) -> State:
        """For a checkpoint: the rows that are half learned."""
        return self._row_losses.state()

    def _count(self, batch: TensorBatch, seen: Reading, losses: np.ndarray) -> None:
        """`losses`: of the rows that are complete."""
        tally, now = self._since, time.monotonic()
        known = losses[~np.isnan(losses)]
        self._instruments.add(batch, seen, len(losses))
        self._since = tally.model_copy(
            update={
                "num_samples": tally.num_samples + len(losses) + batch.num_without_target,
                "num_tokens": tally.num_tokens + batch.num_tokens,
                "num_truncated": tally.num_truncated + batch.num_truncated,
                "bytes_truncated": tally.bytes_truncated + batch.bytes_truncated,
                "num_resized": tally.num_resized + batch.num_resized,
                "num_without_target": tally.num_without_target + batch.num_without_target + len(losses) - len(known),
                "num_skipped_steps": tally.num_skipped_steps + seen.skipped,
                "last_loss": seen.mean,
                "epoch_loss": tally.epoch_loss + _exact_sum(known),
                "epoch_samples": tally.epoch_samples + len(known),
                "seconds": tally.seconds + now - self._began,
            }
        )
        self._began = now

    def _tell(self, taken: Taken, seen: Reading, num_samples: int) -> None:
        record = StepRecord(
            epoch=taken.epoch,
            step=taken.step,
            total_steps=taken.total_steps,
            loss=seen.mean,
            learning_rate=taken.rate,
            gradient_norm=seen.gradient_norm,
            num_samples=num_samples,
            pace=self._instruments.recent,
            memory_bytes=self._instruments.peak_memory_bytes,
        )
        self._instruments.log(record)
        if self._on_step is not None and self._ranks.leads:
            self._on_step(record)


def _exact_sum(losses: np.ndarray) -> float:
    """Of losses rounded to 2⁻²⁴: such sums are exact in float64 up to 5·10⁸, so that neither stops nor ranks, which
    decide in what order they are added, change an epoch's mean."""
    return float(np.round(losses.astype(np.float64) * 2**24).sum() / 2**24)
