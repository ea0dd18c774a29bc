"""What is refused before a run begins: ids and labels that cannot mean what they are said to mean, by name and row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.errors import InputError, RecipeError
from curator.recipe import parse
from curator.run import RunRequest
from pipelines.phases.validate import Validated, validate
from pipelines.plan import make_plan


def checked(folder: Path, *tables: pa.Table, **changes: Any) -> Validated:
    """Validates tables, a file each, as labelled text under a rules policy."""
    for number, table in enumerate(tables):
        pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=64)
    recipe = {
        "task": "classification",
        "columns": {"text": "text", "label": "label"},
        "policy": {"kind": "rules"},
        "unit_rows": 64,
        **changes,
    }
    files = tuple(str(folder / f"part-{number}.parquet") for number in range(len(tables)))
    return validate(make_plan(RunRequest(inputs=files, recipe=parse(recipe).model_dump(mode="json"))))


def table(labels: Any, first: int = 0, **columns: Any) -> pa.Table:
    n = len(labels)
    texts = [f"text {first + number}" for number in range(n)]
    return pa.table({"id": list(range(first, first + n)), "text": texts, "label": labels} | columns)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_an_empty_label_is_no_class(tmp_path: Path, kind: pa.DataType) -> None:
    labels = pa.array(["a", "b", "", "  ", "\t\n", None, " a"] * 3, kind)
    assert checked(tmp_path, table(labels)).outputs["classes"] == [" a", "a", "b"]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (pa.array([1.0, 2.0, float("nan")] * 9), ["'label'", "double", "Int64"]),
        (pa.array([["a"], ["b"]] * 9), ["'label'", "list<", "one label"]),
        (pa.array([{"x": 1}, {"x": 2}] * 9), ["'label'", "struct<", "one label"]),
        (pa.nulls(18), ["'label'", "null", "no row has a label"]),
        (pa.array([None, "", " "] * 6), ["'label'", "no label at all", "18 row(s)"]),
        (pa.array(["a"] * 18), ["'label'", "1 distinct value, 'a'", "columns.label"]),
        (pa.array(["a", ""] * 9), ["1 distinct value, 'a'"]),
        (pa.array(range(18)), ["'label'", "every one of 18 rows", "looks like an id"]),
        (pa.array([f"text {n}" for n in range(17)] + [None]), ["every one of 17 rows"]),
    ],
)
def test_labels_that_make_no_classes_are_refused(tmp_path: Path, labels: pa.Array, words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        checked(tmp_path, table(labels))
    for word in words:
        assert word in str(caught.value)


def test_whole_numbers_and_truth_values_are_labels(tmp_path: Path) -> None:
    assert checked(tmp_path, table(pa.array([True, False, None] * 9))).outputs["classes"] == [False, True]
    assert checked(tmp_path, table(pa.array([3, 1, None] * 9, pa.int8()))).outputs["classes"] == [1, 3]


def test_few_rows_may_differ_by_chance_and_half_of_many_is_odd(tmp_path: Path) -> None:
    assert checked(tmp_path, table(["a", "b"])).outputs["warnings"] == []
    [warning] = checked(tmp_path, table([f"c{n // 2 if n < 30 else n}" for n in range(60)])).outputs["warnings"]
    assert "45 values in 60 rows" in warning
    assert checked(tmp_path, table([f"c{n // 2}" for n in range(60)])).outputs["warnings"] == []


def test_a_repeated_id_is_told_by_file_and_row_even_behind_a_unit_without_rows(tmp_path: Path) -> None:
    parts = table(["a", "b"] * 32, split=["x"] * 64), table(["a", "b"] * 5, 60, split=["y"] * 10)
    assert checked(tmp_path, *parts, where={"split": "y"}).outputs["rows_by_unit"] == [0, 10]
    with pytest.raises(InputError, match=r"60 \(row 0 of .*part-1.parquet\), 61 \(row 1"):
        checked(tmp_path, *parts)


def test_a_null_id_is_told_by_its_row_in_the_file(tmp_path: Path) -> None:
    ids = pa.array([None if number == 99 else number for number in range(120)])
    with pytest.raises(InputError, match=r"part-0.parquet, row 99, column 'id': the id is null"):
        checked(tmp_path, table(["a", "b"] * 60).set_column(0, "id", ids))
