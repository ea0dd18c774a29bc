"""Training jobs at a server: asked for, watched, and told what each row cost.

Knows addresses and the columns of feedback; nothing of training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from curator.client.wire import ARROW, Wire, id_of
from curator.epochs.adaptive import Losses

__all__ = ["TrainingJobs"]

_FEEDBACK_ROWS: Final = 50_000
_COLUMNS: Final = ("sample_id", "epoch", "step", "loss", "correct")


class TrainingJobs:
    """`client.jobs`."""

    def __init__(self, wire: Wire):
        self._wire = wire

    def create(
        self,
        *,
        manifest: str | None = None,
        plan: str | None = None,
        mode: str = "managed",
        entry: str | None = None,
        recipe: str | Mapping[str, Any] | None = None,
        name: str = "",
    ) -> dict[str, Any]:
        """A job a runner trains (`managed`), or one trained here that reports back (`external`)."""
        body = {"manifest": manifest, "plan": plan, "mode": mode, "entry": entry, "name": name}
        plain = dict(recipe) if isinstance(recipe, Mapping) else recipe
        return self._wire.create("/v1/training-jobs", {**body, "recipe": plain})

    def get(self, job: str) -> dict[str, Any]:
        """One training job."""
        return self._wire.get(f"/v1/training-jobs/{job}")

    def list(self, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """All training jobs, newest first."""
        return self._wire.items("/v1/training-jobs", {}, limit)

    def cancel(self, job: str | Mapping[str, Any]) -> dict[str, Any]:
        """Stops a job for good."""
        return self._wire.post(f"/v1/training-jobs/{id_of(job)}:cancel")

    def delete(self, job: str | Mapping[str, Any]) -> None:
        """Removes a job that has ended, with its checkpoints and what it reported."""
        self._wire.call("DELETE", f"/v1/training-jobs/{id_of(job)}")

    def report(self, job: str | Mapping[str, Any], epoch: int, losses: Losses | Mapping[str, float | None]) -> bool:
        """Reports an epoch's mean losses by difficulty (`Losses.of_rows` makes them of a stream's batches), which move
        the job's plan if it is adaptive. Whether they were new. Raises ConflictError when others were reported."""
        told = losses.model_dump() if isinstance(losses, Losses) else dict(losses)
        body = {"by_difficulty": [{"epoch": epoch, "losses": told}]}
        return bool(self._wire.post(f"/v1/training-jobs/{id_of(job)}/feedback", body)["epochs"])

    def reported(self, job: str | Mapping[str, Any]) -> dict[str, Any]:
        """How much a job has reported: {batches, rows, by_difficulty}."""
        return self._wire.get(f"/v1/training-jobs/{id_of(job)}/feedback")

    def feedback(self, job: str | Mapping[str, Any], table: pa.Table) -> int:
        """Reports losses: columns sample_id, epoch, step, loss, [correct]. Returns how many rows count; what was
        reported before counts once. The job is the one named here; columns that name another are left out."""
        wanted = [name for name in _COLUMNS if name in table.schema.names]
        rows, accepted = table.select(wanted), 0
        for start in range(0, rows.num_rows, _FEEDBACK_ROWS):
            sink = pa.BufferOutputStream()
            part = rows.slice(start, _FEEDBACK_ROWS).combine_chunks()
            with pa.ipc.new_stream(sink, part.schema) as writer:
                writer.write_table(part)
            content = bytes(sink.getvalue())
            address = f"/v1/training-jobs/{id_of(job)}/feedback"
            answer = self._wire.call("POST", address, content=content, headers={"Content-Type": ARROW})
            accepted += int(answer.json()["accepted"])
        return accepted
