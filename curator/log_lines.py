"""How log lines look: text for people, or one JSON object a line; both with the request or run they belong to.

Knows nothing of who logs. An error's own words stay out of the log, as they may quote a user's text or a credential:
its kind and its frames are told.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Literal

__all__ = ["LogFormat", "configure_logs", "telling"]

LogFormat = Literal["text", "json"]
_about: ContextVar[Mapping[str, Any]] = ContextVar("about", default={})  # noqa: B039  never changed, only replaced
_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


@contextmanager
def telling(**fields: Any) -> Iterator[None]:
    """Inside, every line says what it is about: `telling(run=…)`, `telling(request_id=…)`."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def configure_logs(form: LogFormat, level: int = logging.INFO) -> None:
    """Sends the process's log lines to standard error in this form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells whole URLs, and a presigned one is a credential


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatException(self, ei: _Raised) -> str:
        return _frames(ei)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {"at": at, "level": record.levelname.lower(), "logger": record.name}
        line |= {**_about.get(), **getattr(record, "fields", {}), "message": record.getMessage()}
        if record.exc_info:
            line["error"] = _frames(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _frames(raised: Any) -> str:
    kind, error, _ = raised
    if error is None:
        return ""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{kind.__name__} at\n{frames}".rstrip()
