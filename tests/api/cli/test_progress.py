"""Progress in a pipe and on a terminal."""

from __future__ import annotations

import io

import pytest

from api.cli.progress import progress_shown, rates
from curator.run import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def steps() -> list[Progress]:
    score = [Progress(phase="score", rows_total=1000, rows_done=done) for done in range(0, 1001, 10)]
    decide = [
        Progress(
            phase="decide",
            rows_total=1000,
            rows_done=done,
            kept=done * 9 // 10,
            dropped=done // 10,
            relabeled=done // 20,
        )
        for done in (0, 500, 1000)
    ]
    return score + decide


def test_a_pipe_gets_a_line_for_every_tenth_of_a_phase() -> None:
    out = io.StringIO()
    with progress_shown(out) as show:
        for step in steps():
            show(step)
    lines = out.getvalue().splitlines()
    assert lines[0] == "score"
    assert lines[1] == "score: 100/1000 rows"
    assert lines[10] == "score: 1000/1000 rows"
    assert lines[11:] == [
        "decide",
        "decide: 500/1000 rows, kept 90.0%, relabeled 5.0%",
        "decide: 1000/1000 rows, kept 90.0%, relabeled 5.0%",
    ]
    assert "\x1b" not in out.getvalue()


def test_a_terminal_gets_a_bar_for_every_phase_in_rows_with_keep_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with progress_shown(out) as show:
        for step in steps():
            show(step)
    drawn = out.getvalue()
    assert "1,000/1,000 rows" in drawn
    assert "kept 90.0%, relabeled 5.0%" in drawn
    assert drawn.rindex("decide") > drawn.rindex("score")


def test_rates_say_what_a_run_waits_for() -> None:
    assert rates(Progress()) == ""
    assert rates(Progress(kept=1, dropped=3)) == "kept 25.0%"
    assert rates(Progress(blocked_on="memory")) == "waiting: memory"
