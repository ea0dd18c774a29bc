"""Curated shards as training's row stream: a manifest, an epoch plan, one rank of one.

Knows the client's stream and reader; nothing of models. Only the columns a recipe reads are decoded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from curator.client.shard_stream import ShardStream
from curator.client.sources import open_source
from curator.epochs.plan import EpochPlan
from curator.errors import ConflictError, RecipeError, RequestError
from curator.shards import Manifest
from curator.shards.reader import ShardReader
from pipelines.training.kinds import ImageClassifier, LanguageModel, TrainingRecipe, VideoClassifier
from pipelines.training.sequences import Packed

__all__ = ["CuratedRows", "columns_of", "epochs_for", "open_rows"]


class CuratedRows:
    """A `RowStream` over one rank's ShardStream: its slice of every global batch."""

    def __init__(self, stream: ShardStream, reader: ShardReader):
        self._stream, self._reader = stream, reader

    @property
    def manifest(self) -> str:
        return self._stream.manifest.id

    @property
    def plan(self) -> str:
        return self._stream.plan.id

    @property
    def num_rows(self) -> int:
        """Live rows of the manifest."""
        return self._stream.manifest.num_live

    def num_batches(self, epoch: int) -> int:
        return self._stream.plan.num_batches(epoch)

    def labels(self, column: str) -> Iterator[pa.Array]:
        """The label of every live row, corrected ones corrected; one column is read."""
        for batch in self._reader.iter_batches(self._stream.manifest, columns=[column]):
            yield batch.column(0)

    def set_epoch(self, epoch: int) -> None:
        self._stream.set_epoch(epoch)
        self._stream.load_state_dict(self._stream.state_dict(samples=0))

    def iter_batches(self) -> Iterator[pa.RecordBatch]:
        return self._stream.iter_batches()

    def state_dict(self) -> dict[str, Any]:
        return self._stream.state_dict()

    def cursor(self, epoch: int, num_batches: int) -> dict[str, Any]:
        self._stream.set_epoch(epoch)
        return self._stream.state_dict(samples=num_batches * self._stream.plan.global_batch_size)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._stream.load_state_dict(state)


def open_rows(
    source: Any,
    manifest: str | Manifest,
    recipe: TrainingRecipe,
    *,
    num_epochs: int | None = None,
    plan: EpochPlan | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> CuratedRows:
    """A manifest's rows in the order of the recipe's plan (curriculum, epochs, seed, global batch).

    `source`: a root directory or object-store URL, a Store, or a Client. `plan`: one made before, that the recipe
    agrees with; it adds epoch_size, shuffle and tail. Raises NotFoundError, RequestError when the manifest cannot fill
    a batch, misses a column or has a last batch that cannot be shared, ConflictError when the plan cannot be made again
    as it was.
    """
    if plan is not None and plan.tail == "pad":
        raise RequestError(
            f"plan {plan.id} fills its last batch with repeated rows (tail: pad), which one process does not need and "
            "would learn from twice; make a plan with tail drop or short"
        )
    if plan is not None and plan.tail == "short" and world_size > 1:
        raise RequestError(
            f"the last batch of plan {plan.id} may be short (tail: short), so that some of {world_size} ranks would "
            "have no rows for it; make a plan with tail drop"
        )
    if isinstance(recipe, LanguageModel) and isinstance(recipe.layout, Packed):
        rank, world_size = 0, 1  # every rank packs all rows, and takes its share of the sequences
    opened = open_source(source, cache_dir)
    extra: dict[str, Any] = (
        {} if plan is None else {"epoch_size": plan.epoch_size, "shuffle": plan.shuffle, "tail": plan.tail}
    )
    found = opened.manifest(manifest) if isinstance(manifest, str) else manifest
    _check_columns(found, recipe)
    stream = ShardStream(
        opened,
        found,
        curriculum=recipe.curriculum,
        num_epochs=num_epochs or recipe.epochs,
        seed=recipe.seed,
        global_batch_size=recipe.global_batch_size,
        rank=rank,
        world_size=world_size,
        columns=[*columns_of(recipe), "sample_id"],
        **extra,
    )
    if plan is not None and stream.plan.id != plan.id:
        raise ConflictError(
            f"plan {plan.id} and recipe give {stream.plan.id}: another manifest, curriculum, seed or batch. The "
            "rows would come in another order than the plan's; make a new plan."
        )
    return CuratedRows(stream, ShardReader(opened))


def _check_columns(manifest: Manifest, recipe: TrainingRecipe) -> None:
    has = [column.name for column in manifest.columns]
    missing = [name for name in columns_of(recipe) if name not in has]
    if missing:
        raise RecipeError(
            f"{manifest.id} has no column {missing[0]!r}, which a {recipe.kind} reads; it has {', '.join(has)}. "
            "Name the data's columns under `columns`."
        )


def columns_of(recipe: TrainingRecipe) -> tuple[str, ...]:
    """The data's columns a recipe reads."""
    if isinstance(recipe, LanguageModel):
        return (recipe.columns.text, *recipe.columns.prompt)
    if isinstance(recipe, ImageClassifier):
        return (recipe.columns.image, recipe.columns.label)
    if isinstance(recipe, VideoClassifier):
        return (recipe.columns.video, recipe.columns.label)
    return (recipe.columns.text, recipe.columns.label)


def epochs_for(manifest: Manifest, recipe: TrainingRecipe, steps: int) -> int:
    """The fewest epochs whose plan gives that many batches; the curriculum is spread over them."""
    size = recipe.global_batch_size
    epochs = max(steps // max(manifest.num_live // size, 1), 1)
    while True:
        plan = EpochPlan.of(
            manifest, curriculum=recipe.curriculum, num_epochs=epochs, seed=recipe.seed, global_batch_size=size
        )
        if sum(plan.num_batches(epoch) for epoch in range(epochs)) >= steps:
            return epochs
        epochs += 1
