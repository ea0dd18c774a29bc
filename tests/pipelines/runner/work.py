"""What stands for the work of a run, and ways to see and wait for what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from curator.catalog import Catalog, CatalogJournal, ClaimedRun
from curator.errors import StoppedError
from curator.run import Progress, RunRequest, RunSummary
from curator.settings import Settings

REQUEST = RunRequest(inputs=("rows.parquet",), recipe={"task": "text"})
PATIENCE_S = 60.0


def summary_of(run_id: str) -> RunSummary:
    return RunSummary(
        run=run_id,
        manifest="man_1",
        ledger="ledger",
        rows_in=3,
        kept=3,
        dropped=0,
        relabeled=0,
        reasons={},
        difficulty={},
        policy="rules",
        seconds=0.1,
        seconds_by_phase={},
        peak_rss_bytes=1,
    )


def three_units(claimed: ClaimedRun, journal: CatalogJournal, settings: Settings) -> RunSummary:
    """Work of three units, one of a few milliseconds each, that listens between two of them."""
    for unit in range(3):
        if unit not in journal.done("score"):
            journal.commit("score", unit, {"unit": unit})
        journal.progress(Progress(phase="score", rows_total=3, rows_done=unit + 1))
        stop = journal.stop_requested()
        if stop is not None:
            raise StoppedError(stop)
    return summary_of(claimed.id)


def states(catalog: Catalog, run_id: str) -> list[str]:
    return [step.to_state.value for step in catalog.runs.history("local", run_id)]


def until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
