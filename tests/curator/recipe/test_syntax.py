"""A broken recipe file is told by file, line and column, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from curator.errors import RecipeError
from curator.recipe import load

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
def test_broken_yaml(tmp_path: Path, name: str) -> None:
    text, place, remedy = BROKEN[name]
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        load(tmp_path / "r.yaml")
    told = str(caught.value)
    assert f"r.yaml, {place}: " in told and remedy in told
    assert not [words for words in PARSERS_WORDS if words in told]


def test_the_place_is_pointed_at(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("task: text: more\n")
    with pytest.raises(RecipeError) as caught:
        load(tmp_path / "r.yaml")
    assert str(caught.value).splitlines()[1:] == ["    task: text: more", "              ^"]


def test_broken_json(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"task": "text",\n "seed" 1}\n')
    with pytest.raises(RecipeError, match="line 2, column 9: this is not JSON"):
        load(tmp_path / "r.json")
