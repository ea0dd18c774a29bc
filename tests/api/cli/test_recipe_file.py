"""A broken recipe is told by file, line and column, with what to do, by every command that reads one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Winnow = Callable[..., Result]

BROKEN = {
    "tab": ("task: text\n\tseed: 1\n", "line 2, column 1", "indent with spaces"),
    "colon": ("task: text: more\n", "line 1, column 11", "in quotes"),
    "deeper": ("seed: 1\n  task: text\n", "line 2, column 7", "take the indentation back"),
    "nameless": ("task: text\nprocess\n  - length\nseed: 1\n", "line 2, column 1", "name: value"),
    "bracket": ("task: text\nwhere: {split: train\nseed: 1\n", "line 2, column 8", "not closed"),
    "out of line": ("process:\n  - length\n - c4\n", "line 3, column 2", "line it up"),
    "quote": ("task: text\nwhere: {a: 'x}\n", "line 2, column 12", "close the quote"),
    "at": ("task: @text\n", "line 1, column 7", "put the value in quotes"),
    "alias": ("task: *text\n", "line 1, column 7", "put the value in quotes"),
    "tag": ("task: !text x\n", "line 1, column 7", "put the value in quotes"),
    "control": ("seed: 1\ntask: te\x07xt\n", "line 2, column 9", "delete it"),
    "escape": ('task: "\\q"\n', "line 1, column 9", "look at this line"),
}
PARSERS_WORDS = ("<unicode string>", "block mapping", "could not determine a constructor", "tag:yaml.org", "mark")


@pytest.mark.parametrize("name", BROKEN)
def test_broken_yaml(winnow: Winnow, here: Path, name: str) -> None:
    text, place, remedy = BROKEN[name]
    (here / "r.yaml").write_text(text)
    (here / "a.jsonl").write_text('{"text": "x"}\n')
    done = winnow("curate", "a.jsonl", "--recipe", "r.yaml", "--out", "root")
    assert done.exit_code == 2
    assert f"r.yaml, {place}: " in done.stderr and remedy in done.stderr
    assert not [words for words in PARSERS_WORDS if words in done.stderr]
    assert not (here / "root").exists()


def test_the_place_is_pointed_at(winnow: Winnow, here: Path) -> None:
    (here / "r.yaml").write_text("task: text: more\n")
    told = winnow("curate", "a.jsonl", "--recipe", "r.yaml").stderr.splitlines()
    assert told[1:] == ["    task: text: more", "              ^"]


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
