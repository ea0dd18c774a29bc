"""A broken recipe is told by file, line and column at every door that reads one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Winnow = Callable[..., Result]


@pytest.mark.parametrize(
    "words",
    [
        ["curate", "a.jsonl", "--out", "root"],
        ["submit", "a.jsonl", "--url", "http://127.0.0.1:9"],
        ["train", "man_1", "--root", "root"],
    ],
)
def test_broken_json_at_every_door(winnow: Winnow, here: Path, words: list[str]) -> None:
    (here / "r.json").write_text('{"task": "text",\n "seed" 1}\n')
    done = winnow(*words, "--recipe", "r.json")
    assert done.exit_code == 2
    assert "r.json, line 2, column 9: this is not JSON" in done.stderr


def test_other_complaints_pass(winnow: Winnow, here: Path) -> None:
    (here / "r.yaml").write_text("task: text\nprocesss: []\n")
    assert "did you mean 'process'" in winnow("curate", "a.jsonl", "--recipe", "r.yaml").stderr
    assert "gone.yaml" in winnow("curate", "a.jsonl", "--recipe", "gone.yaml").stderr
