"""Curated shards as a row stream: the plan's order, the recipe's columns, every label."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from curator.client.shard_stream import ShardStream
from curator.epochs.plan import EpochPlan
from curator.errors import ConflictError, NotFoundError, RecipeError, RequestError
from curator.storage import Store
from pipelines.training.classes import ClassTable
from pipelines.training.kinds import LanguageColumns
from pipelines.training.pull import CuratedRows, columns_of, epochs_for, open_rows
from tests.pipelines.training.examples import SMALL, fast, images, texts, write_curated

RECIPE = SMALL["text-classifier"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def rows(root: Path) -> CuratedRows:
    return open_rows(str(root), write_curated(Store.open(root), texts(150)), RECIPE)


def _ids(rows: CuratedRows, epoch: int) -> list[bytes]:
    rows.set_epoch(epoch)
    return [name for batch in rows.iter_batches() for name in batch.column("sample_id").to_pylist()]


def test_it_is_the_streams_order(root: Path, rows: CuratedRows) -> None:
    stream = ShardStream(
        str(root), rows.manifest, curriculum=RECIPE.curriculum, num_epochs=3, seed=RECIPE.seed, global_batch_size=16
    )
    for epoch in (0, 2, 1):
        stream.set_epoch(epoch)
        expected = [name for batch in stream.iter_batches() for name in batch.column("sample_id").to_pylist()]
        assert _ids(rows, epoch) == expected == _ids(rows, epoch), "an epoch set again starts again"
        assert rows.num_batches(epoch) == len(stream)
    assert rows.plan == stream.plan.id and rows.num_rows == 150


def test_only_the_recipes_columns_are_read(rows: CuratedRows) -> None:
    rows.set_epoch(0)
    assert next(iter(rows.iter_batches())).schema.names == ["text", "label", "sample_id", "difficulty"]
    assert columns_of(SMALL["image-classifier"]) == ("image", "label")
    assert columns_of(fast(SMALL["language-model"], columns=LanguageColumns(prompt=("a", "b")))) == ("text", "a", "b")


def test_every_label_is_seen(rows: CuratedRows) -> None:
    pieces = list(rows.labels("label"))
    assert Counter(label for piece in pieces for label in piece.to_pylist()) == {
        "sport": 50,
        "trade": 50,
        "science": 50,
    }
    assert ClassTable.of(pieces, column="label").labels == ("science", "sport", "trade")


def test_a_cursor_goes_on_and_a_set_epoch_starts_over(rows: CuratedRows) -> None:
    whole = _ids(rows, 1)
    rows.set_epoch(1)
    batches = rows.iter_batches()
    seen = [name for _ in range(2) for name in next(batches).column("sample_id").to_pylist()]
    state = rows.state_dict()
    rows.set_epoch(0)
    rows.load_state_dict(state)
    rest = [name for batch in rows.iter_batches() for name in batch.column("sample_id").to_pylist()]
    assert seen + rest == whole and _ids(rows, 1) == whole


def test_a_plan_is_followed_or_refused(root: Path, rows: CuratedRows) -> None:
    manifest = write_curated(Store.open(root), texts(150))
    options = {"curriculum": RECIPE.curriculum, "num_epochs": 3, "seed": RECIPE.seed, "global_batch_size": 16}
    plan = EpochPlan.of(manifest, epoch_size=70, tail="short", **options)
    followed = open_rows(str(root), manifest, RECIPE, plan=plan)
    assert followed.plan == plan.id and len(_ids(followed, 0)) == 70
    with pytest.raises(ConflictError, match="another manifest, curriculum, seed or batch"):
        open_rows(str(root), manifest, fast(RECIPE, seed=4), plan=plan)
    with pytest.raises(RequestError, match="tail: pad"):
        open_rows(str(root), manifest, RECIPE, plan=EpochPlan.of(manifest, tail="pad", **options))


@pytest.mark.parametrize("steps", [1, 7, 9, 40, 133])
def test_epochs_for_is_the_fewest_that_last(root: Path, steps: int) -> None:
    manifest = write_curated(Store.open(root), texts(150))
    epochs = epochs_for(manifest, RECIPE, steps)

    def given(number: int) -> int:
        rows = open_rows(str(root), manifest, RECIPE, num_epochs=number)
        return sum(rows.num_batches(epoch) for epoch in range(number))

    assert given(epochs) >= steps
    assert epochs == 1 or given(epochs - 1) < steps


def test_wrong_requests(root: Path) -> None:
    with pytest.raises(NotFoundError):
        open_rows(str(root), "man_" + "0" * 32, RECIPE)
    manifest = write_curated(Store.open(root), images(60))
    with pytest.raises(RecipeError, match="no column 'text', which a text-classifier reads; it has image, label"):
        open_rows(str(root), manifest, RECIPE)
