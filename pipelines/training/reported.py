"""Feedback of a job that trains beside the catalog: the file in the store first, then the row that makes it count.

Knows the store and the catalog; nothing of models. The file is what the server writes for feedback that comes over
HTTP: the job it counts for is in its path and in the catalog, so the columns that name job and plan stay behind.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from curator.catalog import Catalog, TrainingJob
from curator.digest import sha256_hex
from curator.errors import IntegrityError
from curator.storage import Store
from pipelines.training.feedback import FEEDBACK_SCHEMA

__all__ = ["LOSS_MOST", "CatalogFeedback"]

LOSS_MOST: Final = 20.0
"""Losses are clipped to [0, 20] nats, and counted: e^-20 is a probability of 2e-9, and one bad row must not outweigh a
million."""

_COLUMNS: Final = ("sample_id", "epoch", "step", "loss", "correct")
_SCHEMA: Final = pa.schema([FEEDBACK_SCHEMA.field(name) for name in _COLUMNS])


class CatalogFeedback:
    """A sink for the trainer's feedback tables. The same table twice counts once."""

    def __init__(self, catalog: Catalog, store: Store, job: TrainingJob):
        self._catalog, self._store, self._job = catalog, store, job
        self.rows = self.accepted = self.clipped = 0

    def __call__(self, table: pa.Table) -> None:
        """Raises IntegrityError for a table that names another job, RetryableError when the catalog does not answer."""
        others = set(pc.unique(table["training_job"]).to_pylist()) - {self._job.id}
        if others:
            raise IntegrityError(f"feedback of {sorted(others)} came to the job {self._job.id}; nothing was recorded")
        rows, clipped = _clipped(table.select(_COLUMNS))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, _SCHEMA, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(rows)
        data = bytes(sink.getvalue())
        digest = sha256_hex(data)
        path = f"feedback/{self._job.id}/{digest}.arrow"
        if not self._store.exists(path):
            self._store.write_bytes(path, data)
        receipt = self._catalog.feedback.accept(
            self._job.tenant,
            self._job.id,
            digest=digest,
            path=path,
            sample_ids=rows["sample_id"].to_pylist(),
            epochs=rows["epoch"].to_numpy(),
        )
        self.rows, self.accepted, self.clipped = (
            self.rows + receipt.rows,
            self.accepted + receipt.accepted,
            self.clipped + clipped,
        )

    def counts(self) -> dict[str, int]:
        """What this process sent: rows, how many of them had not been reported before, how many losses were clipped."""
        return {"rows": self.rows, "accepted": self.accepted, "clipped": self.clipped}


def _clipped(rows: pa.Table) -> tuple[pa.Table, int]:
    low, high = pa.scalar(0, pa.float32()), pa.scalar(LOSS_MOST, pa.float32())
    held = pc.min_element_wise(pc.max_element_wise(rows["loss"], low), high)
    changed = int(pc.sum(pc.not_equal(held, rows["loss"])).as_py() or 0)
    return rows.set_column(3, _SCHEMA.field("loss"), held).cast(_SCHEMA), changed
