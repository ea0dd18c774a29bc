"""The loss of each row, put together from its pieces: a long text is learned in parts, in any step, and told of once.

Knows what a batch says of its pieces; nothing of models or of who listens.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipelines.training.feed import TensorBatch

__all__ = ["RowLosses", "State"]

State = list[tuple[int, float, int]]


class RowLosses:
    """Sums over the targets of rows that are under way, in float64."""

    def __init__(self, state: State | None = None):
        """`state`: what `state()` gave."""
        self._under_way = {int(row): (float(total), int(seen)) for row, total, seen in state or []}

    def settle(self, batch: TensorBatch, losses: np.ndarray) -> tuple[pa.Array, np.ndarray]:
        """(sample ids, mean losses float32) of the rows that this batch completes, in the order of their last pieces.

        `losses` float32[len(batch)]: the mean over each piece's targets. Without packing a row is complete as it is.
        """
        if batch.rows is None:
            return batch.sample_ids, losses
        done, means = [], []
        for piece, ((row, row_targets, targets), loss) in enumerate(zip(batch.rows.tolist(), losses, strict=True)):
            total, seen = self._under_way.pop(row, (0.0, 0))
            if seen + targets == row_targets:
                done.append(piece)
                means.append(float(loss) if not seen else (total + float(loss) * targets) / row_targets)
            else:
                self._under_way[row] = (total + float(loss) * targets, seen + targets)
        return batch.sample_ids.take(pa.array(done, pa.int64())), np.array(means, dtype=np.float32)

    def state(self) -> State:
        """For a checkpoint: (row, sum, targets seen) of the rows under way."""
        return [(row, total, seen) for row, (total, seen) in sorted(self._under_way.items())]

    def __len__(self) -> int:
        """Rows under way."""
        return len(self._under_way)
