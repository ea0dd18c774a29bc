"""The Ray engine: actors that walk the whole road for a work unit; the driver holds references and counts bytes.

Batches never hop through the object store: a worker reads its unit, writes its files and returns small JSON. A worker
that dies is replaced and its unit started again; unit outputs are named by content, so a second try changes nothing.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from curator.errors import RunFailedError, TransportError
from curator.stopping import hear
from pipelines.cluster.session import connect, require_head
from pipelines.job import Job
from pipelines.memory import peak_rss_bytes
from pipelines.phases import Step, part_bytes, run_set_step, run_unit_step

__all__ = ["RayEngine"]

log: Final = logging.getLogger(__name__)

MAX_BYTES_IN_FLIGHT = 4 << 30
"""Estimated uncompressed bytes of units being worked on at once, over the whole cluster."""
MAX_TRIES = 4
"""Starts of one unit before the run gives up (and stays resumable)."""
_POLL_S = 0.5


class _Worker:
    """One process that can run any step; it opens the job from (root, run) and keeps the judge in memory."""

    def __init__(self, root: str, run: str):
        self.job = Job(root, run)

    def unit(self, step: Step, unit: int, outputs: dict[str, Any]) -> tuple[dict[str, Any], int]:
        return run_unit_step(step, self.job, unit, outputs), peak_rss_bytes()

    def whole(self, step: Step, outputs: dict[str, Any]) -> tuple[dict[str, Any], int]:
        return run_set_step(step, self.job, outputs), peak_rss_bytes()


@dataclass
class _Pending:
    unit: int
    worker: Any
    tries: int


@dataclass
class RayEngine:
    """Workers are started on first use and ended on exit. `address` None starts a Ray of its own on this machine."""

    job: Job
    address: str | None = None
    num_workers: int | None = None
    bytes_in_flight: int = 0
    blocked_on: str | None = None
    _workers: list[Any] = field(default_factory=list)
    _share: float = 1.0

    def __enter__(self) -> RayEngine:
        connect(self.address)
        cpus = ray.cluster_resources().get("CPU", 1.0)
        count = max(1, min(self.num_workers or int(cpus), len(self.job.plan.units)))
        self._share = min(1.0, cpus / count)  # more workers than cores share them; none waits for a core for ever
        self._workers = [self._start() for _ in range(count)]
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            ray.kill(worker)
        self._workers = []

    def _start(self) -> Any:
        actor = ray.remote(num_cpus=self._share, max_restarts=0)(_Worker)
        return actor.remote(self.job.root, self.job.run)

    def run_set(self, step: Step, outputs: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        for _ in range(MAX_TRIES):
            worker = self._workers[0]
            try:
                return _waited_for(worker.whole.remote(step, dict(outputs)))
            except RayTaskError as error:
                raise _own(error) from error
            except RayActorError:
                self._replace(worker)
            except RayError as error:
                raise _away(error) from error
        raise RunFailedError(
            f"the worker of step {step.name} died {MAX_TRIES} times; look at the Ray logs, then resume the run"
        )

    def run_units(
        self, step: Step, units: Sequence[int], outputs: Mapping[str, Any]
    ) -> Iterator[tuple[int, dict[str, Any], int]]:
        waiting = deque((unit, 0) for unit in units)
        shared = ray.put(dict(outputs))
        idle = deque(self._workers)
        pending: dict[Any, _Pending] = {}
        while waiting or pending:
            self._submit(step, shared, waiting, idle, pending)
            ready, _ = ray.wait(list(pending), timeout=_POLL_S)
            require_head()
            hear()
            for reference in ready:
                done = pending.pop(reference)
                self.bytes_in_flight -= part_bytes(step, self.job, done.unit)
                try:
                    result, peak = ray.get(reference)
                except RayTaskError as error:
                    raise _own(error) from error
                except RayActorError as error:
                    if done.tries + 1 >= MAX_TRIES:
                        raise RunFailedError(
                            f"unit {done.unit} ended its worker {MAX_TRIES} times in step {step.name}; resume the run "
                            f"with more memory a worker or a smaller unit_rows"
                        ) from error
                    idle.append(self._replace(done.worker))
                    waiting.appendleft((done.unit, done.tries + 1))
                    continue
                except RayError as error:
                    raise _away(error) from error
                idle.append(done.worker)
                yield done.unit, result, peak

    def _submit(
        self, step: Step, shared: Any, waiting: deque[tuple[int, int]], idle: deque[Any], pending: dict[Any, _Pending]
    ) -> None:
        """Starts units while a worker is idle and the byte budget allows; one unit may always run."""
        self.blocked_on = None
        while waiting and idle:
            size = part_bytes(step, self.job, waiting[0][0])
            if pending and self.bytes_in_flight + size > MAX_BYTES_IN_FLIGHT:
                self.blocked_on = f"{self.bytes_in_flight >> 20} MiB in flight; the next unit has {size >> 20} MiB"
                return
            (unit, tries), worker = waiting.popleft(), idle.popleft()
            self.bytes_in_flight += size
            pending[worker.unit.remote(step, unit, shared)] = _Pending(unit, worker, tries)
        if waiting:
            self.blocked_on = f"all {len(self._workers)} workers are busy"

    def _replace(self, dead: Any) -> Any:
        position = self._workers.index(dead)
        self._workers[position] = self._start()
        return self._workers[position]


def _waited_for(reference: Any) -> Any:
    """The result, asking meanwhile whether to stop: leaving the engine ends the worker in the midst of its work."""
    while not ray.wait([reference], timeout=_POLL_S)[0]:
        require_head()
        hear()
    return ray.get(reference)


def _away(error: RayError) -> TransportError:
    """Neither the work nor its worker is at fault: Ray lost a node, an object or itself."""
    return TransportError(f"Ray lost its work: {type(error).__name__}: {error}; the next attempt goes on")


def _own(error: RayTaskError) -> Exception:
    """The worker's own error, so that callers see the same types and words on every engine; where it cannot travel
    between processes, its first line. The worker's traceback goes to the log."""
    log.error("a worker failed: %s", _COLOURS.sub("", str(error)))
    cause = error.cause
    if isinstance(cause, Exception) and not isinstance(cause, RayError):
        return cause
    return RunFailedError(f"a worker failed: {_last_line(error)}; look at the log, then resume the run")


_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


def _last_line(error: RayTaskError) -> str:
    """The line of a traceback that names the error."""
    lines = [line for line in _COLOURS.sub("", error.traceback_str).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
