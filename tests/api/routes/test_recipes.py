"""Recipes: the presets, and a recipe judged before anything runs, kept under its content, tried out on some rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.submission import resolved
from curator.catalog import Scope
from curator.recipe import parse, preset_names

RECIPE = {"task": "text", "columns": {"text": "text"}, "process": [{"length": {"min_chars": 61}}, "exact_duplicates"]}


def test_the_presets_are_all_there(house: Any) -> None:
    items = house.two.get("/v1/recipes").json()["items"]
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


@pytest.mark.parametrize("name", ["/etc", "acme/small", "sentence-transformers:/etc", "/nowhere", "builtin "])
@pytest.mark.parametrize("modality", ["text", "image"])
def test_no_road_loads_an_encoder_the_server_does_not_list(
    house: Any, dataset: dict[str, Any], name: str, modality: str
) -> None:
    recipe = {**RECIPE, "encoder": {modality: name}}
    kept = house.service.catalog.recipes.keep(house.tenant, parse(recipe).id, parse(recipe).model_dump(mode="json"))
    roads = [("/v1/recipes", {}), ("/v1/recipes:validate", {})]
    roads += [(road, {"dataset": dataset["id"]}) for road in ("/v1/recipes:dry-run", "/v1/runs")]
    for road, more in roads:
        for asked in (recipe, kept.id):
            answer = house.one.post(road, json={"recipe": asked, **more})
            assert (answer.status_code, answer.json()["code"]) == (422, "bad_recipe"), (road, answer.text)
            assert f"encoder.{modality}" in answer.text and "WINNOW_ENCODERS" in answer.text
    listing = house.service.settings.model_copy(update={"encoders": (name,)})
    assert resolved(replace(house.service, settings=listing), house.tenant, recipe, {}, None) == parse(recipe)


def test_a_recipe_is_kept_under_its_content(house: Any) -> None:
    first = house.one.post("/v1/recipes", json={"recipe": RECIPE, "name": "mine"})
    again = house.one.post("/v1/recipes", json={"recipe": parse(RECIPE).model_dump(mode="json"), "name": "other"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json() and first.json()["name"] == "mine"
    assert first.json()["id"] == parse(RECIPE).id == f"rcp_{first.json()['digest'][:32]}"
    found = house.one.get(first.headers["location"])
    assert found.json() == first.json()
    assert house.one.get(found.url.path, headers={"If-None-Match": found.headers["etag"]}).status_code == 304
    listed = house.one.get("/v1/recipes").json()["items"]
    assert [item["id"] for item in listed].count(first.json()["id"]) == 1
    assert (
        house.one.post("/v1/recipes:validate", json={"recipe": first.json()["id"]}).json()["digest"]
        == (first.json()["digest"])
    )
    line = house.one.get("/v1/audit").json()["items"][0]
    assert (line["action"], line["status"]) == ("POST /v1/recipes", 201)


def test_pages_of_recipes(house: Any) -> None:
    made = [
        house.one.post("/v1/recipes", json={"recipe": {**RECIPE, "seed": seed}}).json()["id"] for seed in (11, 12, 13)
    ]
    seen, cursor = [], None
    while cursor is not None or not seen:
        page = house.one.get("/v1/recipes", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [item["id"] for item in page["items"] if item["created_at"]]
        cursor = page["next_cursor"]
    assert seen[:3] == made[::-1] and len(set(seen)) == len(seen)
    assert house.one.get("/v1/recipes?cursor=nonsense").json()["code"] == "bad_request"


def test_a_run_takes_a_kept_recipe_by_its_id(house: Any, dataset: dict[str, Any]) -> None:
    """And takes it as it is: a dataset's columns do not change what an id stands for."""
    kept = house.one.post("/v1/recipes", json={"recipe": RECIPE}).json()
    run = house.one.post("/v1/runs", json={"dataset": dataset["id"], "recipe": kept["id"]})
    assert run.status_code == 202, run.text
    assert (run.json()["recipe"], run.json()["recipe_digest"]) == (kept["id"], kept["digest"])
    house.one.post(f"/v1/runs/{run.json()['id']}:cancel")
    unknown = house.one.post("/v1/runs", json={"dataset": dataset["id"], "recipe": "rcp_" + "0" * 32})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


def test_a_dry_run_compares_with_no_earlier_run(house: Any, dataset: dict[str, Any], finished: dict[str, Any]) -> None:
    from tests.api.conftest import RECIPE as OF_THE_RUN

    recipe = {**OF_THE_RUN, "process": [{"exact_duplicates": {"against": finished["id"]}}]}
    told = house.one.post("/v1/recipes:dry-run", json={"dataset": dataset["id"], "recipe": recipe})
    assert told.status_code == 422 and "leave `against` out" in told.json()["detail"], told.text


def test_a_dry_run_says_what_a_run_would(house: Any, dataset: dict[str, Any], finished: dict[str, Any]) -> None:
    """Of all rows: the same counts as the finished run of the same recipe."""
    from tests.api.conftest import RECIPE as OF_THE_RUN

    told = house.one.post("/v1/recipes:dry-run", json={"dataset": dataset["id"], "recipe": OF_THE_RUN})
    assert told.status_code == 200, told.text
    found, summary = told.json(), finished["summary"]
    assert (found["rows_read"], found["rows"]) == (240, 240)
    for name in ("kept", "dropped", "relabeled", "difficulty"):
        assert found[name] == summary[name], name
    dropped = {group["reason"]: group for group in found["verdicts"] if group["action"] == "drop"}
    assert {reason: group["rows"] for reason, group in dropped.items()} == summary["reasons"]
    for reason, group in dropped.items():
        assert group["meaning"] and len(group["examples"]) == 3
        for example in group["examples"]:
            assert reason in example["reasons"]
            assert example["values"]["id"] == f"doc{example['row']}"
            assert example["values"]["text"]
    short = dropped["too_short"]["examples"]
    assert [example["row"] % 8 for example in short] == [3, 3, 3], "every eighth document is too short"


def test_a_dry_run_leaves_nothing_behind(
    house: Any, dataset: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def everything() -> tuple[set[str], list[Any]]:
        runs = [run["id"] for run in house.one.get("/v1/runs").json()["items"]]
        return {name for name in house.service.store.list("runs")}, runs

    before = everything()
    asked = {"dataset": dataset["id"], "recipe": RECIPE, "rows": 7}
    told = house.one.post("/v1/recipes:dry-run", json=asked).json()
    assert told["rows"] == 7 <= told["rows_read"]
    assert everything() == before
    assert list(tmp_path.iterdir()) == []
    assert house.one.get("/v1/audit").json()["items"][0]["action"] == "POST /v1/recipes:dry-run"


def test_a_dry_run_of_rows_that_where_picks(house: Any, send: Any, tmp_path: Path) -> None:
    texts = [f"Row {n} says something of its own, at some length, about {n} bushels of wheat." for n in range(60)]
    pq.write_table(pa.table({"text": texts, "split": ["a", "b", "b"] * 20}), tmp_path / "d.parquet")
    upload = send(house.one, (tmp_path / "d.parquet").read_bytes())
    dataset = house.one.post("/v1/datasets", json={"upload_ids": [upload]}).json()["id"]
    asked = {"dataset": dataset, "recipe": {**RECIPE, "where": {"split": "a"}}, "rows": 5}
    told = house.one.post("/v1/recipes:dry-run", json=asked).json()
    assert told["rows"] == 5
    rows = [example["row"] for group in told["verdicts"] for example in group["examples"]]
    assert rows and all(row % 3 == 0 for row in rows)
    asked["recipe"] = {**RECIPE, "where": {"split": "z"}}
    none = house.one.post("/v1/recipes:dry-run", json=asked)
    assert none.status_code == 400 and "none of the first 60 rows" in none.json()["detail"]


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({"recipe": {"task": "text", "columns": {"text": "no_such"}}}, 422, "no_such"),
        ({"recipe": "txt"}, 422, "did you mean"),
        ({"dataset": "ds_nobody"}, 404, "ds_nobody"),
        ({"rows": 0}, 422, ""),
        ({"rows": 10_001}, 422, ""),
        ({"trusted": "upl_1"}, 422, ""),
    ],
)
def test_a_dry_run_that_cannot_be(
    house: Any, dataset: dict[str, Any], changes: dict[str, Any], status: int, word: str
) -> None:
    answer = house.one.post("/v1/recipes:dry-run", json={"dataset": dataset["id"], "recipe": RECIPE, **changes})
    assert answer.status_code == status, answer.text
    assert word in json.dumps(answer.json())


def test_a_reader_may_keep_and_try_nothing(house: Any, dataset: dict[str, Any]) -> None:
    reader = house.client([Scope.READ])
    assert reader.get("/v1/recipes").status_code == 200
    assert reader.post("/v1/recipes", json={"recipe": RECIPE}).status_code == 403
    asked = {"dataset": dataset["id"], "recipe": RECIPE}
    assert reader.post("/v1/recipes:dry-run", json=asked).status_code == 403
