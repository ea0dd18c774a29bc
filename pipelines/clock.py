"""The clock of a run: where it stands, in rows; what its work took, in seconds and memory; which software did it.

Knows the journal, which carries all of it from attempt to attempt; nothing of what the steps do.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from curator.errors import LeaseLostError, WinnowError
from curator.run import Journal, Progress
from curator.version import software_version
from pipelines.engine import Engine
from pipelines.memory import begin_peak, peak_rss_bytes

__all__ = ["Clock"]

log: Final = logging.getLogger(__name__)
_MADE: Final = "made"


class Clock:
    """Progress, seconds, memory and the software at work, kept while the road is walked.

    Each commit carries what its making took and which version made it, so that a run resumed in another process tells
    of all its attempts. Work that was never committed took nothing.
    """

    def __init__(self, journal: Journal, listener: Callable[[Progress], None] | None):
        self.journal, self.listener = journal, listener
        self.progress = Progress()
        self.version, self.versions = software_version(), Counter[str]()
        self.started = self.told = time.monotonic()
        self.seconds_before = 0.0
        begin_peak()
        self.peak = peak_rss_bytes()

    def commit(self, step: str, unit: int, outputs: dict[str, Any], peak: int = 0) -> None:
        """Commits outputs with what their making took: seconds since the commit before, the peak RSS of the processes
        at work, the version of the software. peak: of the process that did the work."""
        now, before = time.monotonic(), self.told
        self.told, self.peak = now, max(self.peak, peak, peak_rss_bytes())
        self.versions[self.version] += 1
        made = {"seconds": round(now - before, 3), "peak_rss_bytes": self.peak, "version": self.version}
        self.journal.commit(step, unit, {**outputs, _MADE: made})

    def committed(self, step: str, phase: str) -> dict[int, dict[str, Any]]:
        """The outputs that earlier attempts committed of a step, by unit; what they took is counted for the phase."""
        done = self.journal.done(step)
        made = [outputs[_MADE] for outputs in done.values()]
        if made:
            seconds = sum(item["seconds"] for item in made)
            self.seconds_before += seconds
            self.peak = max(self.peak, *(item["peak_rss_bytes"] for item in made))
            self.versions.update(item["version"] for item in made)
            self._spent(phase, seconds)
        return {
            unit: {name: value for name, value in outputs.items() if name != _MADE} for unit, outputs in done.items()
        }

    @property
    def seconds(self) -> float:
        """Of all attempts: this one whole, the earlier ones as far as their work was committed."""
        return self.seconds_before + time.monotonic() - self.started

    def begin(self, phase: str, rows: int, *, anew: bool = True) -> None:
        """A phase starts; a whole-set step that ends a phase (`anew` false) leaves its rows done."""
        goes_on = phase == self.progress.phase and not anew
        done = self.progress.rows_done if goes_on else 0
        self._publish(phase=phase, rows_total=rows, rows_done=done, blocked_on=None, bytes_in_flight=0)

    def all_done(self) -> None:
        self._publish(rows_done=self.progress.rows_total)

    @contextmanager
    def phase(self, shown: str, rows: int, *, anew: bool = True, spent_on: str | None = None) -> Iterator[None]:
        """Seconds count for the phase `spent_on`, by default the one shown."""
        name = spent_on or shown
        self.begin(shown, rows, anew=anew)
        started = time.monotonic()
        try:
            yield
        finally:
            self._spent(name, time.monotonic() - started)

    def _spent(self, phase: str, seconds: float) -> None:
        spent = dict(self.progress.seconds_by_phase)
        spent[phase] = round(spent.get(phase, 0.0) + seconds, 3)
        self._publish(seconds_by_phase=spent)

    def unit_done(self, rows: int, result: dict[str, Any], engine: Engine | None = None) -> None:
        changes: dict[str, Any] = {"rows_done": self.progress.rows_done + rows}
        if "reasons" in result:
            for name in ("kept", "dropped", "relabeled"):
                changes[name] = getattr(self.progress, name) + result[name]
            reasons = dict(self.progress.reasons)
            for reason, count in result["reasons"].items():
                reasons[reason] = reasons.get(reason, 0) + count
            changes["reasons"] = reasons
        if engine is not None:
            changes |= {"bytes_in_flight": engine.bytes_in_flight, "blocked_on": engine.blocked_on}
        self._publish(**changes)

    def _publish(self, **changes: Any) -> None:
        """Tells where the run stands. Progress that does not get through is no reason to stop: the next one says it
        too, and so does the heartbeat. A lost lease is."""
        self.progress = self.progress.model_copy(update=changes)
        try:
            self.journal.progress(self.progress)
        except LeaseLostError:
            raise
        except WinnowError as error:
            log.warning("progress did not get through: %s", error)
        if self.listener is not None:
            self.listener(self.progress)
