"""Held-out rows: which count, which are refused, and that what was trained on is left out."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from curator.errors import InputError, RequestError
from curator.storage import Store
from pipelines.training.compress.held_out import HeldOut, content_digests, digests_of, held_out_table
from pipelines.training.compress.recipe import HeldOutRows
from pipelines.training.compress.scoring import run_of
from pipelines.training.evaluate import evaluate
from tests.pipelines.training.compress.conftest import RECIPES, Trained
from tests.pipelines.training.examples import texts, write_curated

RECIPE = RECIPES["text-classifier"]


@pytest.fixture
def file(tmp_path: Path) -> str:
    table = texts(30).drop_columns(["sample_id"]).rename_columns({"label": "label_true"})
    table = table.append_column("split", pa.array(["train", "test", "test"] * 10))
    pq.write_table(table, tmp_path / "rows.parquet")
    return str(tmp_path / "rows.parquet")


def test_rows_that_match_under_the_models_names(file: str) -> None:
    found = held_out_table([file], HeldOutRows(where={"split": "test"}, label="label_true"), RECIPE)
    assert found.column_names == ["text", "label"] and found.num_rows == 20


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        (HeldOutRows(), "no column 'label', which the model's task needs; it has text, label_true"),
        (HeldOutRows(label="label_true", where={"split": "dev"}), "no held-out row"),
    ],
)
def test_a_set_of_another_task_is_refused(file: str, wish: HeldOutRows, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        held_out_table([file], wish, RECIPE)


def test_labels_that_the_model_does_not_know_are_refused(text: Trained) -> None:
    table = pa.table({"text": ["a", "b"], "label": ["sport", "weather"]})
    with pytest.raises(InputError, match=r"'weather'.*not one of the 3 classes"):
        HeldOut.of(text.model, table)
    with pytest.raises(InputError, match="labels are int64"):
        HeldOut.of(text.model, pa.table({"text": ["a"], "label": [1]}))


def test_a_manifest_but_not_the_one_trained_on(tmp_path: Path, text: Trained) -> None:
    with pytest.raises(RequestError, match="is the manifest that the model was trained on"):
        held_out_table([text.manifest], HeldOutRows(), RECIPE, text.root, text.manifest)
    other = write_curated(Store.open(tmp_path), texts(40, seed=5)).id
    assert held_out_table([other], HeldOutRows(), RECIPE, str(tmp_path), text.manifest).num_rows == 40


def test_digests_are_of_content() -> None:
    seen = content_digests([pa.array(["a", "b"]), pa.array(["c"])])
    assert [digest in seen for digest in digests_of(pa.array(["c", "d", "a"]))] == [True, False, True]
    assert list(digests_of(pa.array([{"bytes": b"c"}]))) == list(digests_of(pa.array(["c"])))


def test_accuracy_and_loss_are_evaluates(either: Trained) -> None:
    """The twin scores by the training package's own road."""
    model, rows = either.model, either.rows
    scores = rows.scores(run_of(model.model))
    expected = evaluate(model.model, model.recipe, model.class_table, either.table)
    found = rows.measure(scores)
    assert found.accuracy == expected.accuracy and found.finite
    assert found.mean_loss == pytest.approx(expected.mean_loss, rel=1e-5)
    assert not rows.measure(torch.full_like(scores, torch.nan)).finite
    assert rows.latency_ms(run_of(model.model)) > 0
