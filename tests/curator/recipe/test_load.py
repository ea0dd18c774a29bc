"""Recipes: every shipped one loads, every mistake is named in the user's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curator.errors import RecipeError
from curator.recipe import load, parse, preset_names

MINIMAL: dict[str, Any] = {"task": "text", "columns": {"text": "text"}}


def test_the_shipped_presets() -> None:
    assert preset_names() == ("c4", "classification", "dclm", "dolma", "fineweb", "gopher", "instruction", "text")
    for name in preset_names():
        recipe = load(name)
        assert recipe.process, name
        assert parse(recipe.model_dump(mode="json")) == recipe
        assert parse(recipe.model_dump(mode="json")).digest == recipe.digest


def test_yaml_and_json_of_the_same_recipe_are_one(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("task: text\ncolumns: {text: body}\nprocess: [exact_duplicates]\nseed: 3\n")
    (tmp_path / "a.json").write_text(
        '{"seed": 3, "task": "text", "process": [{"exact_duplicates": {}}], "columns": {"text": "body"}}'
    )
    assert load(tmp_path / "a.yaml").digest == load(tmp_path / "a.json").digest
    assert load(tmp_path / "a.yaml").digest != parse({**MINIMAL, "seed": 3}).digest


def test_a_preset_inside_process_stands_for_its_operators() -> None:
    recipe = parse({**MINIMAL, "process": [{"preset": "gopher"}, {"near_duplicates": {"threshold": 0.9}}]})
    assert [op.kind for op in recipe.process][:2] == ["gopher_quality", "gopher_repetition"]
    assert recipe.process[-1].kind == "near_duplicates" and len(recipe.process) == 5
    assert [op.kind for op in recipe.set_operators] == ["exact_duplicates", "near_duplicates", "near_duplicates"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({**MINIMAL, "polcy": {}}, ["unknown key 'polcy'", "did you mean 'policy'"]),
        ({**MINIMAL, "columns": {"text": "t", "lable": "x"}}, ["columns.lable", "did you mean 'label'"]),
        ({**MINIMAL, "process": [{"gopher_qualty": {}}]}, ["unknown operator 'gopher_qualty'", "gopher_quality"]),
        ({**MINIMAL, "process": [{"near_duplicates": {"threshold": 1.7}}]}, ["threshold", "1.7"]),
        ({**MINIMAL, "process": [{"a": {}, "b": {}}]}, ["one name with its parameters", "['a', 'b']"]),
        ({**MINIMAL, "process": [{"preset": "finweb"}]}, ["no preset 'finweb'", "fineweb"]),
        ({**MINIMAL, "process": "gopher"}, ["process is a list"]),
        ({**MINIMAL, "task": "regression"}, ["task", "classification"]),
        ({"task": "classification", "columns": {"text": "t"}}, ["needs columns.label"]),
        ({"task": "instruction"}, ["needs columns.instruction, columns.output"]),
        ({**MINIMAL, "policy": {"max_false_drop": 2}}, ["policy.max_false_drop", "2"]),
        ({**MINIMAL, "seed": -1}, ["seed"]),
        ([], ["not a mapping"]),
    ],
)
def test_mistakes_are_named(value: Any, words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(value)
    for word in words:
        assert word in str(caught.value)


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="Presets: c4, classification"):
        load("nosuch")
    with pytest.raises(RecipeError, match="no recipe file"):
        load(tmp_path / "absent.yaml")
    (tmp_path / "broken.yaml").write_text("task: [text")
    with pytest.raises(RecipeError, match=r"broken\.yaml, line 1"):
        load(tmp_path / "broken.yaml")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(RecipeError, match=r"broken\.json, line 1"):
        load(tmp_path / "broken.json")


def test_a_date_that_yaml_reads_is_its_iso_text(tmp_path: Path) -> None:
    words = "{columns: {text: text}, where: {day: %s}}"
    recipes = []
    for value in ("2024-01-03", '"2024-01-03"', "[2024-01-03, 2024-01-03T09:30:00Z]"):
        (tmp_path / "recipe.yaml").write_text(words % value)
        recipes.append(load(tmp_path / "recipe.yaml"))
    assert [recipe.where["day"] for recipe in recipes] == [
        "2024-01-03", "2024-01-03", ["2024-01-03", "2024-01-03T09:30:00+00:00"],
    ]  # fmt: skip
    assert recipes[0].digest == recipes[1].digest
