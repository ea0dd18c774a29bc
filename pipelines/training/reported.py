"""Feedback of a job that trains beside the catalog: the file in the store first, then the row that makes it count.

Knows the store and the catalog; nothing of models. The file is what the server writes for feedback that comes over
HTTP: the job it counts for is in its path and in the catalog, so the columns that name job and plan stay behind.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from curator.catalog import Catalog, TrainingJob
from curator.errors import IntegrityError
from curator.feedback import FEEDBACK_FILE, clipped, write_batch
from curator.storage import Store

__all__ = ["CatalogFeedback"]


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
        rows, num_clipped = clipped(table.select(FEEDBACK_FILE.names))
        path, digest = write_batch(self._store, self._job.id, rows)
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
            self.clipped + num_clipped,
        )

    def counts(self) -> dict[str, int]:
        """What this process sent: rows, how many of them had not been reported before, how many losses were clipped."""
        return {"rows": self.rows, "accepted": self.accepted, "clipped": self.clipped}
