"""What a run tells of itself: through hiccups of the catalog, over several attempts, in a process that ran before."""

from __future__ import annotations

import logging
import mmap
from pathlib import Path

import pytest

from curator.errors import DiskFullError, LeaseLostError, TransportError
from curator.run import Progress, RunRequest
from pipelines import clock as clocks
from pipelines.clock import Clock
from pipelines.memory import begin_peak, peak_rss_bytes
from tests.pipelines.conftest import MemoryJournal
from tests.pipelines.test_execute import go, text_recipe


class Flaky(MemoryJournal):
    """Progress does not get through while there is a fault."""

    fault: Exception | None = None

    def progress(self, progress: Progress) -> None:
        if self.fault is not None:
            raise self.fault
        super().progress(progress)


def test_progress_that_does_not_get_through_stops_nothing(texts: Path, tmp_path: Path) -> None:
    journal = Flaky()
    journal.fault = TransportError("the catalog does not answer for a moment")
    assert go(tmp_path / "root", RunRequest(inputs=(str(texts),), recipe=text_recipe()), journal).rows_in == 400


def test_a_lost_lease_is_heard_from_progress() -> None:
    journal = Flaky()
    clock = Clock(journal, None)
    journal.fault = LeaseLostError("another runner's now")
    with pytest.raises(LeaseLostError):
        clock.begin("score", 10)


def test_the_error_that_ends_a_phase_is_the_one_that_is_told(caplog: pytest.LogCaptureFixture) -> None:
    journal = Flaky()
    clock = Clock(journal, None)
    with caplog.at_level(logging.WARNING), pytest.raises(DiskFullError), clock.phase("score", 10):
        journal.fault = TransportError("the catalog does not answer either")
        raise DiskFullError("no space left")
    assert "the catalog does not answer either" in caplog.text


def test_seconds_and_memory_are_of_all_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(clocks.time, "monotonic", lambda: now[0])
    journal = MemoryJournal()
    first = Clock(journal, None)
    with first.phase("score", 2):
        now[0] += 5
        first.commit("score", 0, {"rows": 1}, peak=1 << 50)
        now[0] += 3  # of work that is never committed: killed
    now[0] += 1000
    second = Clock(journal, None)
    assert second.committed("score", "score") == {0: {"rows": 1}}
    with second.phase("score", 2):
        now[0] += 2
        second.commit("score", 1, {"rows": 1})
    assert second.progress.seconds_by_phase == {"score": 7.0}
    assert second.seconds == 7.0 and second.peak == 1 << 50


def test_a_run_of_two_versions_says_so(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from curator.errors import StoppedError

    request = RunRequest(inputs=(str(texts),), recipe=text_recipe())
    journal = MemoryJournal(stop_after=3)
    with pytest.raises(StoppedError):
        go(tmp_path / "root", request, journal)
    journal.stop_after = None
    monkeypatch.setattr(clocks, "software_version", lambda: "99.0")
    warnings = go(tmp_path / "root", request, journal).warnings
    assert any("made by 2 versions of Winnow" in line and "99.0" in line for line in warnings)
    assert not any("versions" in line for line in go(tmp_path / "other", request).warnings)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can forget a peak")
def test_a_peak_is_of_the_work_at_hand() -> None:
    begin_peak()
    before = peak_rss_bytes()
    with mmap.mmap(-1, 256 << 20) as block:
        for place in range(0, 256 << 20, 4096):
            block[place] = 1
        assert peak_rss_bytes() > before + (200 << 20)
    assert peak_rss_bytes() > before + (200 << 20), "a peak outlives what made it"
    begin_peak()
    assert peak_rss_bytes() < before + (100 << 20)
