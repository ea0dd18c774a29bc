"""A run: its states and lawful moves, what is asked of it, what it reports, and how its steps are journalled.

Knows nothing of databases, engines or HTTP; the catalog stores these values, pipelines act on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Journal", "LAWFUL_MOVES", "Progress", "RunRequest", "RunState", "RunSummary", "StopRequest", "TERMINAL"]


class RunState(StrEnum):
    QUEUED = "queued"
    VALIDATING = "validating"
    RUNNING = "running"
    FINALIZING = "finalizing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    PAUSING = "pausing"
    PAUSED = "paused"
    LOST = "lost"


_S = RunState
LAWFUL_MOVES: Final[Mapping[RunState, frozenset[RunState]]] = {
    _S.QUEUED: frozenset({_S.VALIDATING, _S.CANCELLED, _S.FAILED}),
    _S.VALIDATING: frozenset({_S.RUNNING, _S.FAILED, _S.CANCELLING, _S.PAUSING, _S.LOST, _S.QUEUED}),
    _S.RUNNING: frozenset({_S.FINALIZING, _S.FAILED, _S.CANCELLING, _S.PAUSING, _S.LOST, _S.QUEUED}),
    _S.FINALIZING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLING, _S.LOST, _S.QUEUED}),
    _S.PAUSING: frozenset({_S.PAUSED, _S.FAILED, _S.CANCELLING, _S.LOST}),
    _S.PAUSED: frozenset({_S.QUEUED, _S.CANCELLED}),
    _S.CANCELLING: frozenset({_S.CANCELLED, _S.LOST}),
    _S.LOST: frozenset({_S.QUEUED, _S.FAILED, _S.CANCELLED}),
    _S.FAILED: frozenset({_S.QUEUED}),
    _S.SUCCEEDED: frozenset(),
    _S.CANCELLED: frozenset(),
}
"""From each state, the states a run may move to. FAILED → QUEUED is a resume or retry (attempt + 1); a graceful
shutdown of the runner takes VALIDATING, RUNNING or FINALIZING back to QUEUED."""

TERMINAL: Final = frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED})
"""States no runner works on; FAILED alone can be queued again, by a person."""

StopRequest = Literal["cancel", "pause", "shutdown"]


class RunRequest(BaseModel):
    """What a user asks for: which rows, which recipe, which trusted sample. Where it runs is not part of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: tuple[str, ...] = Field(min_length=1, description="files, folders, globs or URLs, in this order")
    recipe: dict[str, Any] = Field(description="a whole recipe as JSON (presets resolved, defaults filled in)")
    trusted: str | None = Field(default=None, description="the trusted sample's file")
    feedback: str | None = Field(default=None, description="a snapshot of training losses under the root")
    within: tuple[str, ...] | None = Field(
        default=None, description="folders every local file must lie in once links are followed; none: anywhere"
    )
    engine: Literal["inline", "ray"] = "inline"
    dataset_version: str | None = None
    dataset: str | None = Field(default=None, description="the registered dataset, whose `latest` the run moves")
    traceparent: str | None = Field(default=None, description="the trace of whoever asked, which the run goes on with")


class Progress(BaseModel):
    """Where a run stands, in rows; written often, read by dashboards and progress bars."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    phase: str = "queued"
    rows_total: int = 0
    rows_done: int = 0
    kept: int = 0
    dropped: int = 0
    relabeled: int = 0
    reasons: dict[str, int] = Field(default_factory=dict)
    bytes_in_flight: int = 0
    blocked_on: str | None = Field(default=None, description="why no further work unit is started right now")
    seconds_by_phase: dict[str, float] = Field(default_factory=dict)


class RunSummary(BaseModel):
    """What `winnow curate --json` prints and `GET /v1/runs/{id}` carries once a run has succeeded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    manifest: str
    ledger: str
    rows_in: int
    kept: int
    dropped: int
    relabeled: int
    reasons: dict[str, int]
    difficulty: dict[str, int]
    policy: str
    seconds: float
    seconds_by_phase: dict[str, float]
    peak_rss_bytes: int
    warnings: tuple[str, ...] = ()


class Journal(Protocol):
    """A run's memory across crashes. One (step, unit) is committed once; `unit` is -1 for whole-set steps."""

    def done(self, step: str) -> dict[int, dict[str, Any]]:
        """Committed outputs of a step by unit; small JSON values (file names, counts)."""
        ...

    def commit(self, step: str, unit: int, outputs: dict[str, Any]) -> None:
        """Records a unit's outputs in one transaction that checks the fence. Raises LeaseLostError."""
        ...

    def progress(self, progress: Progress) -> None:
        """Publishes where the run stands; may be coalesced."""
        ...

    def stop_requested(self) -> StopRequest | None:
        """What a person or the operating system asked for since; None to go on."""
        ...
