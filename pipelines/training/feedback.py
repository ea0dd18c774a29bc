"""What training learns about each row, as the table the catalog accepts: one row for each (job, epoch, sample).

Knows the columns of the contract; nothing of models or of where the table goes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

__all__ = ["FEEDBACK_SCHEMA", "Feedback", "FeedbackBuffer"]

FEEDBACK_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.binary(16), nullable=False),
        pa.field("epoch", pa.int32(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("loss", pa.float32(), nullable=False),
        pa.field("correct", pa.bool_()),
        pa.field("plan", pa.string(), nullable=False),
        pa.field("training_job", pa.string(), nullable=False),
    ]
)
"""`loss` in nats, before the step's update; `correct` null where rows have no class; `step` 1-based."""

Feedback = Callable[[pa.Table], None]


class FeedbackBuffer:
    """Collects steps and hands them on in tables of up to `rows` rows; `flush` before a checkpoint, so that a resumed
    job repeats at most what it will report again with the same values, and never skips a row."""

    def __init__(self, sink: Feedback | None, *, plan: str, training_job: str, rows: int = 16_384):
        self._sink, self._plan, self._job, self._rows = sink, plan, training_job, rows
        self._batches: list[pa.RecordBatch] = []
        self._count = 0

    def add(self, sample_ids: pa.Array, epoch: int, step: int, losses: np.ndarray, correct: np.ndarray | None) -> None:
        """One step: losses float32[B], correct bool[B] or None. A NaN loss marks a row without a target: left out."""
        if self._sink is None:
            return
        known = ~np.isnan(losses)
        count = int(known.sum())
        columns = [
            sample_ids.filter(pa.array(known)).cast(pa.binary(16)),
            pa.array(np.full(count, epoch, np.int32)),
            pa.array(np.full(count, step, np.int64)),
            pa.array(losses[known]),
            pa.nulls(count, pa.bool_()) if correct is None else pa.array(correct[known]),
            pa.array([self._plan] * count, pa.string()),
            pa.array([self._job] * count, pa.string()),
        ]
        self._batches.append(pa.record_batch(columns, schema=FEEDBACK_SCHEMA))
        self._count += count
        if self._count >= self._rows:
            self.flush()

    def flush(self) -> None:
        """Hands on what there is; nothing if there is nothing."""
        if self._sink is not None and self._count:
            self._sink(pa.Table.from_batches(self._batches, schema=FEEDBACK_SCHEMA))
        self._batches, self._count = [], 0
