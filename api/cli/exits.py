"""Exit codes: how every command ends. 0 done, 2 the request is wrong, 3 it failed and can be resumed, 130 interrupted.

Knows errors by their class and notes; messages go to stderr, so that stdout holds results and nothing else.
"""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, Final, TypeVar

import typer

from curator.errors import RequestError, StoppedError, UnreachableError, WinnowError

__all__ = ["DONE", "FAILED", "INTERRUPTED", "WRONG_REQUEST", "exit_codes"]

DONE: Final = 0
WRONG_REQUEST: Final = 2
FAILED: Final = 3
INTERRUPTED: Final = 130

_INSTALL: Final = "pip install 'winnow-curation[cluster]'"

Command = TypeVar("Command", bound=Callable[..., Any])


def exit_codes(command: Command) -> Command:
    """A command whose errors become a message on stderr and the exit code of their class."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            _end(INTERRUPTED, "interrupted")
        except StoppedError as error:
            _end(INTERRUPTED, f"{error}. `winnow curate --resume last` with the same --out goes on from there")
        except (RequestError, UnreachableError) as error:  # neither has begun anything that could be resumed
            _end(WRONG_REQUEST, str(error))
        except WinnowError as error:
            _end(FAILED, "; ".join([str(error), *getattr(error, "__notes__", ())]))
        except ModuleNotFoundError as error:
            _end(WRONG_REQUEST, f"this needs {error.name}, which the base install leaves out: {_INSTALL}")
        except BrokenPipeError:
            # Whoever read our output has gone; writing the rest, even at exit, would only fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(DONE) from None
        except Exception:
            traceback.print_exc()
            _end(
                FAILED,
                "stopped on an error nobody foresaw (above); please report it. A run that had begun can be resumed",
            )

    return run  # type: ignore[return-value]


def _end(code: int, message: str) -> None:
    typer.echo(f"winnow: {message}", err=True)
    raise typer.Exit(code) from None
