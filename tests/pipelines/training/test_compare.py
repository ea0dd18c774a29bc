"""Raw against curated against clean on real digits: wrong labels cost, dropping them pays."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curator.errors import RequestError
from curator.storage import Store
from pipelines.training.compare import compare
from pipelines.training.evaluate import evaluate
from pipelines.training.presets import PRESETS
from pipelines.training.rows import TableRows
from pipelines.training.trainer import Trainer
from tests.pipelines.training.examples import SMALL, fast, png, table_for, write_curated


@pytest.fixture(scope="module")
def digits() -> pa.Table:
    """1,797 handwritten digits, 8×8 grey, in a seeded order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        datasets = pytest.importorskip("sklearn.datasets")
    found = datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    cells = [png((image * 15.9).astype(np.uint8)) for image in found.images[order]]
    ids = [int(number).to_bytes(16, "big") for number in order]
    return pa.table({"image": cells, "label": found.target[order], "sample_id": pa.array(ids, pa.binary(16))})


def test_the_image_model_learns_digits(digits: pa.Table) -> None:
    recipe = PRESETS["digits"]
    trainer = Trainer(TableRows(digits.slice(0, 1300), seed=0, global_batch_size=64), recipe, total_steps=160)
    report = trainer.run()
    score = evaluate(trainer.learner.model, recipe, trainer.classes, digits.slice(1300))
    assert score.accuracy is not None and score.accuracy > 0.93
    assert report.num_classes == 10 and report.losses[-1] < 0.3 < report.losses[0]


def test_curation_is_worth_what_it_is_worth(digits: pa.Table, tmp_path: Path) -> None:
    clean, test = digits.slice(0, 600), digits.slice(1300)
    labels = clean.column("label").to_numpy()
    wrong = np.random.default_rng(1).random(600) < 0.4
    noisy = pa.array(np.where(wrong, (labels + 1) % 10, labels))
    raw = clean.set_column(1, "label", noisy)
    manifest = write_curated(Store.open(tmp_path), raw.filter(pa.array(~wrong)), rows_a_shard=150)
    recipe = fast(PRESETS["digits"], global_batch_size=32, curriculum="constant")
    heard: list[pa.Table] = []
    runs: list[tuple[str, int]] = []
    found = compare(
        raw,
        (str(tmp_path), manifest.id),
        clean,
        test,
        seeds=[0, 1, 2],
        recipe=recipe,
        steps=60,
        feedback=heard.append,
        training_job="trn_demo",
        on_run=lambda name, seed, score: runs.append((name, seed)),
    )
    assert found.measure == "accuracy" and found.steps == 60 and found.test_rows == 497
    assert [arm.name for arm in found.arms] == ["raw", "curated", "clean"]
    assert [arm.num_rows for arm in found.arms] == [600, int((~wrong).sum()), 600]
    assert runs == [(name, seed) for name in ("raw", "curated", "clean") for seed in (0, 1, 2)]
    for arm in found.arms:
        assert len(arm.scores) == 3 and arm.mean == pytest.approx(np.mean(arm.scores))
        assert arm.standard_error == pytest.approx(np.std(arm.scores, ddof=1) / 3**0.5)
    curated = found.contrasts[0]
    assert curated.name == "curated - raw" and curated.mean > 0.05 and curated.mean > 2 * curated.standard_error
    assert found.arm("clean").mean > found.arm("raw").mean
    assert sum(table.num_rows for table in heard) == 60 * 32, "one seed of one arm reports"
    assert {job for table in heard for job in table.column("training_job").unique().to_pylist()} == {"trn_demo"}


def test_the_same_rows_give_the_same_arm() -> None:
    recipe = fast(SMALL["language-model"], epochs=1)
    table = table_for(recipe, 48)
    found = compare(table, table, None, table_for(recipe, 20, seed=3), seeds=[0, 1, 2], recipe=recipe)
    assert found.measure == "loss" and found.steps == 3
    assert found.arms[0].scores == found.arms[1].scores and found.contrasts[0].mean == 0.0
    assert len(set(found.arms[0].scores)) == 3


@pytest.mark.parametrize("seeds", [[0, 1], [0, 1, 1]])
def test_two_seeds_are_no_error_bar(seeds: list[int]) -> None:
    table = table_for(SMALL["language-model"], 48)
    with pytest.raises(RequestError, match="at least three different"):
        compare(table, table, None, table, seeds=seeds, recipe=SMALL["language-model"])
