"""Scores over a table: every row counts once, whatever the batch size."""

from __future__ import annotations

import pyarrow as pa
import pytest
import torch

from curator.errors import InputError, RequestError
from pipelines.training.classes import ClassTable
from pipelines.training.evaluate import evaluate
from pipelines.training.kinds import LanguageColumns
from pipelines.training.model import build
from tests.pipelines.training.examples import SMALL, fast, images, texts

CPU = torch.device("cpu")
TOPICS = ClassTable(("science", "sport", "trade"))


def test_batches_do_not_matter_and_ids_are_not_needed() -> None:
    model = build(SMALL["text-classifier"], 3, CPU)
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(0))
    table = texts(50)
    whole = evaluate(model, SMALL["text-classifier"], TOPICS, table)
    parts = evaluate(model, SMALL["text-classifier"], TOPICS, table.drop_columns(["sample_id"]), batch_size=7)
    assert whole.num_rows == 50 and parts.accuracy == whole.accuracy
    assert parts.mean_loss == pytest.approx(whole.mean_loss, rel=1e-5)


def test_an_untrained_model_knows_nothing() -> None:
    score = evaluate(build(SMALL["text-classifier"], 3, CPU), SMALL["text-classifier"], TOPICS, texts(30))
    assert score.mean_loss == pytest.approx(1.0986, abs=1e-3) and score.accuracy == pytest.approx(1 / 3)


def test_the_model_keeps_its_mode() -> None:
    model = build(SMALL["image-classifier"], 2, CPU).train()
    evaluate(model, SMALL["image-classifier"], ClassTable((0, 1)), images(10))
    assert model.training


def test_a_language_model_has_a_loss_and_no_accuracy() -> None:
    recipe = fast(SMALL["language-model"], context=16, columns=LanguageColumns(prompt=("prompt",)))
    table = texts(20).set_column(3, "prompt", pa.array(["p" * 40 if n == 3 else None for n in range(20)]))
    score = evaluate(build(recipe, 0, CPU), recipe, None, table)
    assert score.accuracy is None and score.num_without_target == 1
    assert score.mean_loss == pytest.approx(5.768, abs=1e-2)  # ln 320


def test_refusals() -> None:
    model, recipe = build(SMALL["text-classifier"], 3, CPU), SMALL["text-classifier"]
    with pytest.raises(RequestError, match="no rows"):
        evaluate(model, recipe, TOPICS, texts(0))
    with pytest.raises(InputError, match="label 'sport'"):
        evaluate(model, recipe, ClassTable(("a", "b", "c")), texts(2))
