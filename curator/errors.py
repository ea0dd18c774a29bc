"""Every error Winnow raises on purpose, sorted by what the reader or the runner must do about it.

    WinnowError
    ├── RequestError              fix the request; nothing was written      exit 2, HTTP 4xx
    │   ├── RecipeError           an unknown key, a bad value, a column the data does not have
    │   ├── InputError            a file, row or cell that cannot be read
    │   ├── TrustedError          the trusted sample does not fit the data
    │   ├── NotFoundError         no such run, manifest, shard, plan …      HTTP 404
    │   └── ConflictError         right request, wrong moment or version    HTTP 409, 412, 422
    ├── IntegrityError            bytes are not what their digest says; never served, never guessed
    ├── RetryableError            the same call may go through later
    │   └── TransportError        a server or store did not answer
    │       └── UnreachableError  nobody has ever answered at this address  exit 2
    ├── LeaseLostError            another runner owns the run now; stop writing at once
    ├── StoppedError              a person or the system asked the run to stop; not a fault   exit 130
    └── RunFailedError            the run stops here and can be resumed      exit 3
        └── DiskFullError

A message says what happened, the value seen, the consequence, and what to do.
"""

from __future__ import annotations

from typing import Literal

__all__ = [
    "ConflictError",
    "DiskFullError",
    "InputError",
    "IntegrityError",
    "LeaseLostError",
    "NotFoundError",
    "RecipeError",
    "RequestError",
    "RetryableError",
    "RunFailedError",
    "StoppedError",
    "TransportError",
    "TrustedError",
    "UnreachableError",
    "WinnowError",
]


class WinnowError(Exception):
    """The root; `code` is stable and goes into REST problems and logs."""

    code = "winnow_error"


class RequestError(WinnowError):
    """The request is wrong: nothing was written, sending it again unchanged will fail again."""

    code = "bad_request"


class RecipeError(RequestError):
    """The recipe names something that does not exist or a value out of range."""

    code = "bad_recipe"


class InputError(RequestError):
    """An input cannot be read. Names the file and, where known, the row (0-based) and the column."""

    code = "bad_input"

    def __init__(self, message: str, *, file: str | None = None, row: int | None = None, column: str | None = None):
        place = ", ".join(
            part
            for part in (
                f"file {file}" if file else "",
                f"row {row}" if row is not None else "",
                f"column {column!r}" if column else "",
            )
            if part
        )
        super().__init__(f"{place}: {message}" if place else message)
        self.file, self.row, self.column = file, row, column


class TrustedError(RequestError):
    """The trusted sample does not join the data or misses a column."""

    code = "bad_trusted"


class NotFoundError(RequestError):
    """The thing named does not exist (or belongs to somebody else: the answer is the same)."""

    code = "not_found"


class ConflictError(RequestError):
    """The request fits another state or version than the present one."""

    code = "conflict"


class QuotaError(RequestError):
    """The tenant has as many as it may have; what to delete is said."""

    code = "quota_exceeded"


class SpaceQuotaError(QuotaError):
    """The tenant's bytes would be more than it may have."""


class IntegrityError(WinnowError):
    """Stored bytes do not match their digest or checksum."""

    code = "integrity"


class RetryableError(WinnowError):
    """A passing fault; the same call may go through later."""

    code = "retry"


class TransportError(RetryableError):
    """A server or an object store did not answer."""

    code = "transport"


class UnreachableError(TransportError):
    """Nobody answers at an address that never answered before: nothing was asked, and it may be the wrong one."""

    code = "unreachable"


class LeaseLostError(WinnowError):
    """The fence moved on: another runner owns this run. Whoever sees this stops writing at once."""

    code = "lease_lost"


class StoppedError(WinnowError):
    """The run stopped between two units because it was asked to; `request` says what for: cancel, pause, shutdown."""

    code = "stopped"

    def __init__(self, request: Literal["cancel", "pause", "shutdown"]):
        super().__init__(f"the run stopped on request: {request}; what was committed stays")
        self.request = request


class RunFailedError(WinnowError):
    """The run cannot go on now; what was committed stays and `--resume` continues from there."""

    code = "run_failed"


class DiskFullError(RunFailedError):
    """No space left where the run writes."""

    code = "disk_full"
