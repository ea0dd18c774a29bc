"""A plan is a function of the request and the files' content, not of where they lie."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.errors import InputError, RecipeError
from curator.recipe import parse
from curator.run import RunRequest
from pipelines.plan import Plan, make_plan
from pipelines.rows import used_rows
from tests.pipelines.test_execute import labelled_recipe, text_recipe


def test_units_follow_unit_rows_and_survive_a_round_trip(labelled: dict[str, Path]) -> None:
    request = RunRequest(inputs=(str(labelled["a"]), str(labelled["b"])), recipe=labelled_recipe(unit_rows=200))
    plan = make_plan(request)
    assert [unit.rows for unit in plan.units] == [200, 150, 200, 50]
    assert [unit.index for unit in plan.units] == [0, 1, 2, 3]
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert plan.recipe.columns.id == "id" and str(plan.label_type) in {"string", "large_string"}


def test_the_dataset_is_named_by_its_content(labelled: dict[str, Path], tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.parquet"
    shutil.copy(labelled["a"], moved)
    one, two, other = (
        make_plan(RunRequest(inputs=(str(path),), recipe=labelled_recipe())).dataset_version
        for path in (labelled["a"], moved, labelled["b"])
    )
    assert one == two != other


def test_without_an_id_column_ids_come_from_content(texts: Path) -> None:
    recipe = text_recipe()
    recipe["columns"]["id"] = None
    assert make_plan(RunRequest(inputs=(str(texts),), recipe=recipe)).recipe.columns.id is None


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.parquet"):
        make_plan(RunRequest(inputs=(str(tmp_path / "nowhere.parquet"),), recipe=text_recipe()))


@pytest.mark.parametrize("changes", [{"label": "id"}, {"label": "text"}, {"label": "id", "id": "id"}])
def test_a_label_is_neither_the_id_nor_the_text(labelled: dict[str, Path], changes: dict[str, str]) -> None:
    recipe = labelled_recipe()
    recipe["columns"].update(changes)
    with pytest.raises(RecipeError, match=f"columns.label both name {changes['label']!r}"):
        make_plan(RunRequest(inputs=(str(labelled["a"]),), recipe=recipe))


@pytest.mark.parametrize(
    ("process", "named"),
    [
        (["gopher_quality", "language"], "gopher_quality, language"),
        (["exact_duplicates", {"near_duplicates": {"threshold": 0.9}}], "near_duplicates"),
        ([{"preset": "c4"}], "language, c4_quality"),
    ],
)
def test_rules_for_text_are_refused_for_images(tmp_path: Path, process: list[Any], named: str) -> None:
    table = pa.table({"image": pa.array([b"1", b"2"], pa.binary()), "label": [0, 1]})
    pq.write_table(table, tmp_path / "images.parquet")
    recipe = {"task": "classification", "columns": {"image": "image", "label": "label"}, "process": process}
    with pytest.raises(
        RecipeError, match=f"columns.image 'image' holds images.*: {named}; .*exact_duplicates, .* alone"
    ):
        asked(tmp_path / "images.parquet", recipe)
    assert asked(tmp_path / "images.parquet", {**recipe, "process": ["exact_duplicates"]}).recipe.modality == "image"


def test_near_duplicates_share_their_signatures(texts: Path) -> None:
    def recipe(**second: Any) -> dict[str, Any]:
        process = [{"near_duplicates": {"threshold": 0.7}}, {"near_duplicates": {"threshold": 0.9, **second}}]
        return {"task": "text", "columns": {"text": "text"}, "process": process}

    assert len(asked(texts, recipe()).recipe.set_operators) == 2
    with pytest.raises(RecipeError, match="near_duplicates stands here with num_perm 112 and 64; a run computes one"):
        asked(texts, recipe(num_perm=64, bands=8))
    with pytest.raises(RecipeError, match="ngram 5 and 7"):
        asked(texts, recipe(ngram=7))


@pytest.mark.parametrize(
    ("process", "complaint"),
    [
        (["url_duplicates"], "url_duplicates.column: the data has no column 'url', did you mean 'urls'"),
        (
            [{"url_duplicates": {"column": "place"}}],
            r"url_duplicates.column 'place' holds int64 in .*a.parquet; name a",
        ),
        (
            [{"url_duplicates": {"column": "urls"}}, {"url_duplicates": {"column": "text"}}],
            "url_duplicates stands here with the columns urls and text",
        ),
    ],
)
def test_addresses_are_texts_of_one_column(tmp_path: Path, process: list[Any], complaint: str) -> None:
    pq.write_table(pa.table({"text": ["x"], "urls": ["http://a.org"], "place": [1]}), tmp_path / "a.parquet")
    with pytest.raises(RecipeError, match=complaint):
        asked(tmp_path / "a.parquet", {"task": "text", "columns": {"text": "text"}, "process": process})


def asked(path: Path, recipe: dict[str, Any]) -> Plan:
    return make_plan(RunRequest(inputs=(str(path),), recipe=parse(recipe).model_dump(mode="json")))


def test_one_column_may_be_id_and_text(labelled: dict[str, Path]) -> None:
    recipe = text_recipe()
    recipe["columns"].update({"id": "text"})
    plan = make_plan(RunRequest(inputs=(str(labelled["a"]),), recipe=recipe))
    _, batch = next(used_rows(plan, 0, columns=["text", "text", "id"]))
    assert batch.schema.names == ["text", "id"]


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"text": "blob", "label": "label"}, "column 'blob' holds binary in .*b.parquet, but"),
        ({"text": "text", "label": "score"}, "label column 'score' holds double in .*b.parquet; labels"),
        ({"image": "text", "label": "label"}, r"column 'text' holds string in .*a.parquet, .*struct<bytes: binary"),
    ],
)
def test_a_wrong_type_is_told_with_the_file_it_comes_from(tmp_path: Path, columns: dict[str, str], named: str) -> None:
    """The first file leaves the column's type open, or has a narrower one."""
    one = {"text": ["x", "y"], "label": ["a", "b"], "blob": pa.nulls(2), "score": [1, 2]}
    pq.write_table(pa.table(one), tmp_path / "a.parquet")
    pq.write_table(pa.table({**one, "blob": [b"x", b"y"], "score": [0.5, 2.0]}), tmp_path / "b.parquet")
    with pytest.raises(RecipeError, match=named):
        make_plan(RunRequest(inputs=(str(tmp_path),), recipe={**labelled_recipe(), "columns": columns}))


def test_an_image_column_of_bytes_and_path_is_planned_as_bytes(tmp_path: Path) -> None:
    pictures = [{"bytes": b"x", "path": "x.png"}, {"bytes": None, "path": "y.png"}]
    pq.write_table(pa.table({"image": pictures, "label": ["a", "b"]}), tmp_path / "a.parquet")
    recipe = {**labelled_recipe(), "columns": {"image": "image", "label": "label"}, "process": []}
    plan = make_plan(RunRequest(inputs=(str(tmp_path),), recipe=recipe))
    [(_, batch)] = used_rows(plan, 0)
    assert batch["image"].to_pylist() == [b"x", None]
