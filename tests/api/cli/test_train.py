"""`winnow train`: what its summary says; the training itself is tested where it lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from api.cli.train import TRAINING_PRESETS, lost
from pipelines.training.recipe import preset_names
from pipelines.training.report import TrainingReport

TOLD: dict[str, Any] = dict(
    finished=True, epochs=2, steps=8, total_steps=8, losses=(0.5, 0.25), num_samples=200, num_truncated=0,
    bytes_truncated=0, num_resized=0, num_without_target=0, num_skipped_steps=0,
)  # fmt: skip
REPORT = TrainingReport.model_construct(**TOLD)
"""Of a finished job's report, what the summary tells of."""


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the faked training will have lost."""
    changes: dict[str, Any] = {}
    monkeypatch.setattr(
        "pipelines.training.command.train_command", lambda *given, **named: REPORT.model_copy(update=changes)
    )
    return changes


def test_rows_cut_by_a_limit_are_told_of(winnow: Callable[..., Result], report: dict[str, Any]) -> None:
    report |= {"num_truncated": 30, "bytes_truncated": 4096}
    done = winnow("train", "man_1", "--recipe", "digits")
    assert done.exit_code == 0, done.stderr
    assert "done: 8 of 8 steps, 2 whole epochs" in done.stdout
    assert "truncated: 30 of 200 rows read were cut to the context, 4096 bytes of text left out" in done.stdout


def test_nothing_lost_nothing_told(winnow: Callable[..., Result], report: dict[str, Any]) -> None:
    done = winnow("train", "man_1", "--recipe", "digits")
    assert done.stdout.splitlines()[1:] == ["mean loss of each epoch: 0.5000 0.2500"]


@pytest.mark.parametrize("name", ["num_truncated", "num_resized", "num_without_target", "num_skipped_steps"])
def test_every_loss_has_its_line(name: str) -> None:
    [line] = lost(REPORT.model_copy(update={name: 17}))
    assert "17" in line


def test_help_lists_the_shipped_recipes(winnow: Callable[..., Result]) -> None:
    assert preset_names() == TRAINING_PRESETS
    told = winnow("train", "--help").stdout
    assert [name for name in TRAINING_PRESETS if f"    {name}" not in told.splitlines()] == []
