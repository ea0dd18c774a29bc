"""How a run's progress is shown: a bar in rows with keep rates on a terminal, plain lines in a pipe; always on stderr.

Knows `Progress` values, nothing of runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from curator.run import Progress

__all__ = ["progress_shown", "rates"]

Listener = Callable[[Progress], None]
NUM_LINES_PER_PHASE = 10


@contextmanager
def progress_shown(stream: TextIO | None = None) -> Iterator[Listener]:
    """A listener for progress; what it has drawn is finished on exit."""
    out = stream or sys.stderr
    if not out.isatty():
        yield _Lines(out)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} rows"),
        TextColumn("{task.fields[rates]}"),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(file=out)) as bars:
        yield _Bars(bars)


def rates(progress: Progress) -> str:
    """Share of the rows decided so far that were kept and relabelled, and what a run waits for; empty before that."""
    decided = progress.kept + progress.dropped
    parts = []
    if decided:
        parts.append(f"kept {progress.kept / decided:.1%}")
        if progress.relabeled:
            parts.append(f"relabeled {progress.relabeled / decided:.1%}")
    if progress.blocked_on:
        parts.append(f"waiting: {progress.blocked_on}")
    return ", ".join(parts)


class _Lines:
    """A line when a phase begins and at every tenth of its rows."""

    def __init__(self, out: TextIO):
        self._out = out
        self._last: tuple[str, int] | None = None

    def __call__(self, progress: Progress) -> None:
        tenth = progress.rows_done * NUM_LINES_PER_PHASE // max(progress.rows_total, 1)
        if (progress.phase, tenth) == self._last:
            return
        self._last = (progress.phase, tenth)
        counted = [f"{progress.rows_done}/{progress.rows_total} rows"] if progress.rows_done else []
        told = ", ".join(filter(None, [*counted, rates(progress)]))
        print(f"{progress.phase}: {told}" if told else progress.phase, file=self._out, flush=True)


class _Bars:
    """One bar for each phase, in the order phases begin."""

    def __init__(self, bars: Any):
        self._bars = bars
        self._tasks: dict[str, Any] = {}

    def __call__(self, progress: Progress) -> None:
        total = max(progress.rows_total, 1)
        if progress.phase not in self._tasks:
            self._finish()
            self._tasks[progress.phase] = self._bars.add_task(progress.phase, total=total, rates="")
        self._bars.update(self._tasks[progress.phase], total=total, completed=progress.rows_done, rates=rates(progress))

    def _finish(self) -> None:
        """A whole-set phase counts no rows on its way; once the next begins, it is done."""
        for task in self._tasks.values():
            self._bars.update(task, completed=self._bars.tasks[task].total)
