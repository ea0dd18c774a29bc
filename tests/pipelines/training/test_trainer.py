"""A job over curated shards: it learns, tells what it saw, and can be killed anywhere without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curator.client.shard_stream import ShardStream
from curator.errors import ConflictError, InputError, RequestError, RunFailedError
from curator.shards.override import Override, override
from curator.storage import Store
from pipelines.training.checkpoint import CHECKPOINT, MODEL, load_model
from pipelines.training.evaluate import evaluate
from pipelines.training.feedback import FEEDBACK_SCHEMA
from pipelines.training.kinds import Optimiser, TrainingRecipe
from pipelines.training.report import StepRecord, TrainingReport
from pipelines.training.rows import TableRows
from pipelines.training.trainer import Trainer, train
from tests.pipelines.training.examples import SMALL, fast, images, table_for, texts, write_curated

ROOT = Path(__file__).parents[3]


class Witness:
    """Keeps every step's loss and every feedback row; asks for a stop at some steps."""

    def __init__(self, stop_at: tuple[int, ...] = ()):
        self.losses: dict[int, float] = {}
        self.epochs: dict[int, int] = {}
        self.feedback: list[pa.Table] = []
        self.stop_at, self.step = stop_at, 0

    def on_step(self, record: StepRecord) -> None:
        self.step = record.step
        self.losses[record.step] = record.loss
        self.epochs[record.step] = record.epoch

    def should_stop(self) -> bool:
        return self.step in self.stop_at

    def rows(self) -> list[dict[str, Any]]:
        return [row for table in self.feedback for row in table.to_pylist()]


def _train(
    root: Path, manifest: str, recipe: TrainingRecipe, folder: Path, **options: Any
) -> tuple[TrainingReport, Witness]:
    witness = Witness(options.pop("stop_at", ()))
    report = train(
        str(root),
        manifest,
        recipe,
        checkpoint_dir=folder,
        feedback=witness.feedback.append,
        on_step=witness.on_step,
        should_stop=witness.should_stop,
        **options,
    )
    return report, witness


@pytest.fixture(scope="module", params=list(SMALL))
def curated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, TrainingRecipe]:
    """150 rows in three shards for each kind of recipe."""
    root, recipe = tmp_path_factory.mktemp("root"), SMALL[request.param]
    return root, write_curated(Store.open(root), table_for(recipe, 150)).id, recipe


def test_a_stopped_job_ends_with_the_bytes_of_one_that_was_not(
    curated: tuple[Path, str, TrainingRecipe], tmp_path: Path
) -> None:
    root, manifest, recipe = curated
    whole, seen = _train(root, manifest, recipe, tmp_path / "whole")
    assert whole.finished and whole.steps == whole.total_steps == len(seen.losses) and whole.resumed_from is None
    losses: dict[int, float] = {}
    rows: list[dict[str, Any]] = []
    boundary = max(step for step, epoch in seen.epochs.items() if epoch == 0)
    assert 3 < boundary < whole.steps - 1, "one stop is exactly between two epochs"
    for stop in (3, boundary, whole.steps - 1, None):
        part, witness = _train(root, manifest, recipe, tmp_path / "parts", stop_at=(stop,) if stop else ())
        assert part.finished == (stop is None) and (stop is None or part.steps == stop)
        losses |= witness.losses
        rows += witness.rows()
    assert losses == seen.losses
    assert rows == seen.rows()
    assert part.losses == whole.losses and part.num_samples == whole.num_samples
    assert (tmp_path / "whole" / MODEL).read_bytes() == (tmp_path / "parts" / MODEL).read_bytes()


def test_losses_fall(curated: tuple[Path, str, TrainingRecipe], tmp_path: Path) -> None:
    root, manifest, recipe = curated
    report, _ = _train(root, manifest, fast(recipe, epochs=6, optimiser=Optimiser(learning_rate=1e-2)), tmp_path)
    assert len(report.losses) == 6 and report.losses[-1] < 0.8 * report.losses[0]


def test_feedback_is_the_contract_and_covers_every_row_served(
    curated: tuple[Path, str, TrainingRecipe], tmp_path: Path
) -> None:
    root, manifest, recipe = curated
    report, witness = _train(root, manifest, recipe, tmp_path, training_job="trn_7")
    assert all(table.schema == FEEDBACK_SCHEMA for table in witness.feedback)
    rows = witness.rows()
    stream = ShardStream(
        str(root),
        manifest,
        curriculum=recipe.curriculum,
        num_epochs=recipe.epochs,
        seed=recipe.seed,
        global_batch_size=16,
    )
    served = []
    for epoch in range(recipe.epochs):
        stream.set_epoch(epoch)
        served += [(epoch, i) for batch in stream.iter_batches() for i in batch.column("sample_id").to_pylist()]
    assert [(row["epoch"], row["sample_id"]) for row in rows] == served
    assert len(set(served)) == len(served) == report.num_samples
    assert {row["training_job"] for row in rows} == {"trn_7"} and {row["plan"] for row in rows} == {stream.plan.id}
    assert [row["step"] for row in rows] == [1 + number // 16 for number in range(len(rows))]
    for step, loss in witness.losses.items():
        mine = [row["loss"] for row in rows if row["step"] == step]
        if recipe.kind != "language-model":  # there the step's loss is a mean over tokens, not over rows
            assert sum(mine) / len(mine) == pytest.approx(loss, rel=1e-5)
    assert all((row["correct"] is None) == (recipe.kind == "language-model") for row in rows)


KILLED = """
import json, os, signal, sys
from pipelines.training.presets import parse_recipe
from pipelines.training.trainer import train
root, manifest, recipe, folder, out, kill_at = sys.argv[1:]
log = open(out, "a")
def on_step(record):
    log.write(f"{record.step} {record.loss.hex()}\\n"); log.flush()
    if record.step == int(kill_at):
        os.kill(os.getpid(), signal.SIGKILL)
train(root, manifest, parse_recipe(json.loads(recipe)), checkpoint_dir=folder, on_step=on_step)
"""


PACKED = fast(SMALL["language-model"], context=16, layout={"kind": "packed", "tokens_per_step": 256}, epochs=2)


@pytest.mark.parametrize("recipe", [SMALL["text-classifier"], PACKED], ids=["rows", "packed"])
def test_killed_twice_and_resumed_gives_the_same_bits(tmp_path: Path, recipe: TrainingRecipe) -> None:
    """SIGKILL between checkpoints, in a process of its own: steps after the last checkpoint are done again, equally."""
    manifest = write_curated(Store.open(tmp_path / "root"), texts(150)).id
    _, seen = _train(tmp_path / "root", manifest, recipe, tmp_path / "whole")
    log = tmp_path / "log"
    arguments = [str(tmp_path / "root"), manifest, recipe.model_dump_json(), str(tmp_path / "killed"), str(log)]
    for kill_at, code in ((6, -signal.SIGKILL), (15, -signal.SIGKILL), (0, 0)):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, *arguments, str(kill_at)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == code
    lines = [line.split() for line in log.read_text().splitlines()]
    steps = [int(step) for step, _ in lines]
    assert len(steps) > len(set(steps)), "some steps were done twice"
    assert set(steps) == set(seen.losses)
    assert all(float.fromhex(loss) == seen.losses[int(step)] for step, loss in lines)
    assert (tmp_path / "whole" / MODEL).read_bytes() == (tmp_path / "killed" / MODEL).read_bytes()


def test_a_finished_job_is_not_done_again(tmp_path: Path) -> None:
    manifest = write_curated(Store.open(tmp_path / "root"), texts(60)).id
    first, _ = _train(tmp_path / "root", manifest, SMALL["text-classifier"], tmp_path / "out")
    again, witness = _train(tmp_path / "root", manifest, SMALL["text-classifier"], tmp_path / "out")
    assert again.finished and not witness.losses and again.resumed_from == first.steps
    assert again.losses == first.losses
    over, witness = _train(tmp_path / "root", manifest, SMALL["text-classifier"], tmp_path / "out", resume=False)
    assert over.resumed_from is None and len(witness.losses) == first.steps and over.losses == first.losses


@pytest.mark.parametrize(
    ("change", "named"), [({"seed": 1}, "plan: 'epl_.*recipe: recipe"), ({"width": 32}, "recipe: recipe")]
)
def test_the_checkpoint_of_another_job_is_refused(tmp_path: Path, change: dict[str, int], named: str) -> None:
    recipe = SMALL["text-classifier"]
    manifest = write_curated(Store.open(tmp_path / "root"), texts(60)).id
    _train(tmp_path / "root", manifest, recipe, tmp_path / "out", stop_at=(2,))
    before = (tmp_path / "out" / CHECKPOINT).read_bytes()
    with pytest.raises(ConflictError, match=named):
        _train(tmp_path / "root", manifest, fast(recipe, **change), tmp_path / "out")
    assert (tmp_path / "out" / CHECKPOINT).read_bytes() == before


def test_the_model_left_behind_scores_what_the_trainer_scored(tmp_path: Path) -> None:
    recipe = fast(SMALL["image-classifier"], epochs=8, augment="none", optimiser=Optimiser(learning_rate=1e-2))
    manifest = write_curated(Store.open(tmp_path / "root"), images(150)).id
    _train(tmp_path / "root", manifest, recipe, tmp_path / "out")
    trained = load_model(str(tmp_path / "out"))
    assert trained.recipe == recipe and trained.classes == (0, 1)
    score = evaluate(trained.model, trained.recipe, trained.class_table, images(80, seed=9))
    assert score.accuracy is not None and score.accuracy > 0.95 and score.num_rows == 80


def test_dropped_and_relabelled_rows_are_learned_as_decided(tmp_path: Path) -> None:
    """All of one class dropped or relabelled away: that class is not in the table, and no such row is seen."""
    store, table = Store.open(tmp_path / "root"), texts(90)
    first = write_curated(store, table)
    science = [row["sample_id"] for row in table.to_pylist() if row["label"] == "science"]
    changes = [Override(sample_id=name.hex(), action="drop") for name in science[:20]]
    changes += [Override(sample_id=name.hex(), action="relabel", label="trade") for name in science[20:]]
    second = override(first, store, changes)
    before, _ = _train(tmp_path / "root", first.id, SMALL["text-classifier"], tmp_path / "first")
    after, seen = _train(tmp_path / "root", second.id, SMALL["text-classifier"], tmp_path / "second")
    assert before.num_classes == 3 and after.num_classes == 2
    assert load_model(str(tmp_path / "second")).classes == ("sport", "trade")
    assert not {row["sample_id"] for row in seen.rows()} & set(science[:20])


def test_an_unseen_label_after_a_resume_is_refused(tmp_path: Path) -> None:
    """The class table is the checkpoint's: other rows under the same plan do not change what class 0 is."""
    recipe, table = SMALL["text-classifier"], texts(48)
    rows = TableRows(table, seed=0, global_batch_size=16)
    witness = Witness(stop_at=(1,))
    Trainer(rows, recipe, checkpoint_dir=tmp_path, on_step=witness.on_step, should_stop=witness.should_stop).run()
    renamed = table.set_column(2, "label", pa.array(["chess"] * 48))
    with pytest.raises(InputError, match=r"label 'chess' .* is not one of the 3 classes"):
        Trainer(TableRows(renamed, seed=0, global_batch_size=16), recipe, checkpoint_dir=tmp_path).run()


def test_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    manifest = write_curated(Store.open(tmp_path / "root"), texts(12)).id
    with pytest.raises(RequestError, match="cannot fill one global batch of 16"):
        _train(tmp_path / "root", manifest, SMALL["text-classifier"], tmp_path / "out")
    empty = Store.open(tmp_path / "empty")
    with pytest.raises(RequestError):
        _train(
            tmp_path / "empty",
            write_curated(empty, texts(3).slice(0, 0)).id,
            SMALL["text-classifier"],
            tmp_path / "out",
        )


class Broken(TableRows):
    """Promises more than it gives."""

    def num_batches(self, epoch: int) -> int:
        return super().num_batches(epoch) + 1


def test_a_stream_that_gives_less_than_its_plan_is_caught() -> None:
    with pytest.raises(RunFailedError, match="promised 4 batches up to epoch 0 and 3 came"):
        Trainer(Broken(texts(48), seed=0, global_batch_size=16), SMALL["text-classifier"]).run()


def test_a_loss_that_is_no_number_stops_the_job(tmp_path: Path) -> None:
    recipe = SMALL["text-classifier"]
    trainer = Trainer(TableRows(texts(48), seed=0, global_batch_size=16), recipe, checkpoint_dir=tmp_path)
    trainer.learner.model.head.weight.data.fill_(float("nan"))
    with pytest.raises(RunFailedError, match="loss of step 1 is nan"):
        trainer.run()
    assert not (tmp_path / MODEL).exists()


def test_fewer_steps_end_inside_an_epoch() -> None:
    report = Trainer(TableRows(texts(48), seed=0, global_batch_size=16), SMALL["text-classifier"], total_steps=5).run()
    assert report.finished and report.steps == 5 and report.epochs == 2 and len(report.losses) == 2


def test_a_launcher_of_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(RequestError, match="WORLD_SIZE is 4"):
        Trainer(TableRows(texts(48), seed=0, global_batch_size=16), SMALL["text-classifier"])


def test_truncation_and_resizing_are_in_the_report() -> None:
    recipe = fast(SMALL["text-classifier"], context=10, epochs=1)
    report = Trainer(TableRows(texts(48), seed=0, global_batch_size=16), recipe).run()
    assert report.num_truncated == 48
    assert report.bytes_truncated == sum(len(text) - 8 for text in texts(48).column("text").to_pylist())
    assert report.num_tokens == 480
    images_report = Trainer(
        TableRows(images(32, size=11), seed=0, global_batch_size=16), SMALL["image-classifier"]
    ).run()
    assert images_report.num_resized == images_report.num_samples == 96


@pytest.mark.parametrize("window", [None, 4])
def test_a_context_grows_row_by_row_too(window: int | None) -> None:
    """Padded: the first third of the steps cuts at 12 tokens, the rest at 48; a window does not change what is read."""
    recipe = fast(
        SMALL["language-model"],
        epochs=1,
        window=window,
        growth=[{"context": 12, "until": 0.34}],
        rotary={"scaling": "ntk"},
    )
    table, seen = texts(96), []
    report = Trainer(TableRows(table, seed=0, global_batch_size=16), recipe, on_step=seen.append).run()
    assert len(seen) == 6 and report.finished
    order = np.random.Generator(np.random.Philox(key=[0, 0])).permutation(96)
    sizes = np.array([len(text) for text in table.column("text").to_pylist()])[order]
    contexts = np.repeat([12, 12, 12, 48, 48, 48], 16)
    assert report.num_truncated == int((sizes + 2 > contexts).sum()) > 16
    assert report.num_tokens == int(np.minimum(sizes + 2, contexts).sum())
    assert report.bytes_truncated == int(np.maximum(sizes + 2 - contexts, 0).sum())


def test_a_window_is_what_the_model_is_scored_with() -> None:
    """A model trained through a window is the same model without one where texts are shorter than it."""
    plain = fast(SMALL["language-model"], epochs=2)
    wide, narrow = (fast(plain, window=window) for window in (48, 2))
    losses = {
        name: Trainer(TableRows(texts(48), seed=0, global_batch_size=16), recipe).run().losses
        for name, recipe in {"plain": plain, "wide": wide, "narrow": narrow}.items()
    }
    assert losses["wide"] == pytest.approx(losses["plain"], rel=1e-5)
    assert losses["narrow"] != pytest.approx(losses["plain"], rel=1e-5)
