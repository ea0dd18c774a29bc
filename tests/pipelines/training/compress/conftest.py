"""Two small trained classifiers, each with its curated root and rows that were held out. Trained once a session.

On the CPU, also where there is a GPU: that is where equal requests give equal bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.storage import Store
from pipelines.training.checkpoint import TrainedModel, load_model
from pipelines.training.compress.held_out import HeldOut
from pipelines.training.kinds import Device, Optimiser, TrainingRecipe
from pipelines.training.trainer import train
from tests.pipelines.training.examples import SMALL, fast, table_for, write_curated


class Trained(NamedTuple):
    """What a finished job leaves, and rows it has not seen."""

    root: str
    manifest: str
    folder: str
    held_out: str
    table: pa.Table

    @property
    def model(self) -> TrainedModel:
        return load_model(self.folder)

    @property
    def rows(self) -> HeldOut:
        return HeldOut.of(self.model, self.table)


RECIPES: dict[str, TrainingRecipe] = {
    "text-classifier": fast(
        SMALL["text-classifier"], width=32, depth=2, heads=4, optimiser=Optimiser(learning_rate=3e-3), epochs=4
    ),
    "image-classifier": fast(SMALL["image-classifier"], width=16, optimiser=Optimiser(learning_rate=1e-2), epochs=4),
}


def trained(kind: str, folder: Path, device: Device = "cpu") -> Trained:
    recipe = fast(RECIPES[kind], device=device)
    root, made = str(folder / "root"), str(folder / "job")
    manifest = write_curated(Store.open(root), table_for(recipe, 300)).id
    train(root, manifest, recipe, checkpoint_dir=made)
    table = table_for(recipe, 120, seed=1).drop_columns(["sample_id"])
    pq.write_table(table, folder / "held_out.parquet")
    return Trained(root, manifest, made, str(folder / "held_out.parquet"), table)


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained("text-classifier", tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained("image-classifier", tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session", params=["text", "image"])
def either(request: pytest.FixtureRequest) -> Trained:
    found: Trained = request.getfixturevalue(request.param)
    return found
