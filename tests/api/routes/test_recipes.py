"""Recipes: the presets, and a recipe judged before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from curator.recipe import preset_names


def test_the_presets_are_all_there(house: Any) -> None:
    items = house.one.get("/v1/recipes").json()["items"]
    assert [item["name"] for item in items] == list(preset_names())
    for item in items:
        assert house.one.get(f"/v1/recipes/{item['name']}").json() == item
        checked = house.one.post("/v1/recipes:validate", json={"recipe": item["recipe"]}).json()
        assert (checked["digest"], checked["name"]) == (item["digest"], None)


def test_a_datasets_columns_fill_in_what_a_recipe_leaves_out(house: Any) -> None:
    body = {"recipe": "text", "columns": {"text": "body"}}
    assert house.one.post("/v1/recipes:validate", json=body).json()["recipe"]["columns"]["text"] == "body"
    body = {"recipe": {"task": "text", "columns": {"text": "own"}}, "columns": {"text": "body", "id": "key"}}
    columns = house.one.post("/v1/recipes:validate", json=body).json()["recipe"]["columns"]
    assert (columns["text"], columns["id"]) == ("own", "key")


@pytest.mark.parametrize(
    ("recipe", "word"),
    [
        ("txt", "did you mean"),
        ("/etc/passwd", "no preset"),
        ("../presets/text.yaml", "no preset"),
        ({"task": "text", "columns": {"text": "t"}, "proces": []}, "did you mean 'process'"),
        ({"task": "text", "columns": {"text": "t"}, "process": [{"no_such_rule": {}}]}, "no_such_rule"),
        ({"task": "painting"}, "task"),
        ({"task": "text"}, "columns.text"),
    ],
)
def test_what_is_wrong_is_said(house: Any, recipe: Any, word: str) -> None:
    answer = house.one.post("/v1/recipes:validate", json={"recipe": recipe})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_recipe")
    assert word in answer.json()["detail"]
