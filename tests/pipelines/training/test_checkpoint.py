"""Checkpoints and models on disk: everything comes back, damage is refused, a failed save leaves the one before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from curator.errors import DiskFullError, IntegrityError, NotFoundError
from curator.storage import Store
from pipelines.training.checkpoint import CHECKPOINT, MODEL, load_model, read
from pipelines.training.kinds import TrainingRecipe
from pipelines.training.rows import TableRows
from pipelines.training.trainer import Trainer
from tests.pipelines.training.examples import SMALL, fast, table_for


def _trainer(recipe: TrainingRecipe, folder: Path, **options: Any) -> Trainer:
    rows = TableRows(table_for(recipe, 48), seed=0, global_batch_size=16)
    return Trainer(rows, recipe, checkpoint_dir=folder, **options)


def _stopped(recipe: TrainingRecipe, folder: Path) -> Trainer:
    trainer = _trainer(recipe, folder, should_stop=lambda: trainer.step == 2)
    trainer.run()
    return trainer


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("kind", list(SMALL))
def test_everything_comes_back(kind: str, precision: str, tmp_path: Path) -> None:
    recipe = fast(SMALL[kind], precision=precision, device="cpu")
    before, after = _stopped(recipe, tmp_path), _trainer(recipe, tmp_path)
    assert (after.step, after.epoch, after.tally, after.classes) == (2, 0, before.tally, before.classes)
    for name, tensor in before.learner.model.state_dict().items():
        assert torch.equal(after.learner.model.state_dict()[name], tensor)
    pairs = zip(before.learner.model.parameters(), after.learner.model.parameters(), strict=True)
    for ours, theirs in pairs:
        moments, again = before.learner.optimizer.state[ours], after.learner.optimizer.state[theirs]
        assert moments and set(moments) == set(again)
        assert all(torch.equal(moments[name], again[name]) for name in moments)
    assert after.learner.scaler.state_dict() == before.learner.scaler.state_dict()


def test_damage_is_refused(tmp_path: Path) -> None:
    recipe = SMALL["text-classifier"]
    _stopped(recipe, tmp_path)
    file = tmp_path / CHECKPOINT
    whole = file.read_bytes()
    for damaged in (whole[:100], b"", whole[:-5], json.dumps({"a": 1}).encode()):
        file.write_bytes(damaged)
        with pytest.raises(IntegrityError, match="delete it and start again"):
            _trainer(recipe, tmp_path)


def test_another_versions_checkpoint_is_refused(tmp_path: Path) -> None:
    _stopped(SMALL["text-classifier"], tmp_path)
    file = tmp_path / CHECKPOINT
    file.write_bytes(file.read_bytes().replace(b'{\\"format\\":3,', b'{\\"format\\":4,'))
    with pytest.raises(IntegrityError, match="was not written by this version"):
        read(Store.open(tmp_path))


def test_a_full_disk_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = SMALL["text-classifier"]
    _stopped(recipe, tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("curator.storage.os.replace", full)
    with pytest.raises(DiskFullError, match="free some and try again"):
        _trainer(recipe, tmp_path).run()
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT]


@pytest.mark.parametrize("kind", list(SMALL))
def test_a_model_alone_is_enough_to_score_with(kind: str, tmp_path: Path) -> None:
    trainer = _trainer(SMALL[kind], tmp_path)
    with pytest.raises(NotFoundError, match="resume it first"):
        load_model(str(tmp_path))
    trainer.run()
    trained = load_model(str(tmp_path))
    assert trained.recipe == SMALL[kind] and trained.class_table == trainer.classes
    ours, theirs = trained.model.state_dict(), trainer.learner.model.state_dict()
    assert list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)
    (tmp_path / MODEL).write_bytes((tmp_path / MODEL).read_bytes()[:-1])
    with pytest.raises(IntegrityError):
        load_model(str(tmp_path))
