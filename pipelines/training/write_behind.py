"""A file written in a thread while the device computes on, one at a time.

Knows a thing to do; nothing of files or tensors. `read_ahead.py` is its counterpart.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

__all__ = ["WriteBehind"]


class WriteBehind:
    """Call it with a write: it has begun when the call returns, and is over when the next begins or the `with` ends.

    An exception of a write is raised by the next call, or at the end.
    """

    def __init__(self, behind: bool = True):
        """`behind` off: each write is over when its call returns."""
        self._behind = behind
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __call__(self, write: Callable[[], None]) -> None:
        self.wait()
        if not self._behind:
            write()
            return
        self._thread = threading.Thread(target=self._run, args=(write,), name="write-behind")
        self._thread.start()

    def wait(self) -> None:
        """Until what was begun is over. Raises what it raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What already goes wrong is not hidden by what the last write raised."""
        try:
            self.wait()
        except BaseException:
            if error is None:
                raise

    def _run(self, write: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:
            self._error = error
