"""What the catalog tells of a run: its row, its claim, its fault and the lines of its history.

Knows nothing of SQL or of what may happen next.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, ValidatorFunctionWrapHandler, field_validator

from curator.run import Progress, RunRequest, RunState, RunSummary

__all__ = ["ClaimedRun", "Run", "RunFault", "Step"]


class RunFault(BaseModel):
    """Why a run failed. `resumable`: what was committed is good and the run can go on from there. NUL characters in
    the message (a library may quote bytes it could not read) become U+FFFD: PostgreSQL stores none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    message: str
    resumable: bool

    @field_validator("message")
    @classmethod
    def _storable(cls, message: str) -> str:
        return message.replace("\0", "\ufffd")


class Run(BaseModel):
    """A run as its row tells it. `version` grows with every visible change (the ETag). `request` is None when another
    version of Winnow stored one that this version cannot read; such a run still shows, is never worked on, and its
    error says so once a runner has met it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    tenant: str
    state: RunState
    priority: int
    request: RunRequest | None
    recipe_digest: str
    attempt: int
    lease_owner: str | None
    lease_until: dt.datetime | None
    fence: int
    heartbeat_at: dt.datetime | None
    not_before: dt.datetime | None
    progress: Progress
    summary: RunSummary | None
    error: RunFault | None
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime

    @field_validator("request", mode="wrap")
    @classmethod
    def _readable(cls, value: Any, read: ValidatorFunctionWrapHandler) -> RunRequest | None:
        try:
            return read(value)
        except ValidationError:
            return None


class ClaimedRun(BaseModel):
    """A run that is this process's to work on, as long as the fence holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    tenant: str
    request: RunRequest
    recipe_digest: str
    attempt: int
    owner: str
    fence: int


class Step(BaseModel):
    """One line of a run's history."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    from_state: RunState | None
    to_state: RunState
    attempt: int
    fence: int
    owner: str | None
    reason: str
    at: dt.datetime
