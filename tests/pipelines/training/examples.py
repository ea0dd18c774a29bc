"""Tiny datasets that can be learned, as tables and as curated shards. For tests of the training stage."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pyarrow as pa
from PIL import Image

from curator.difficulty import terciles
from curator.shards import Manifest, ShardInfo, ShardWriter, write_index
from curator.storage import Store
from pipelines.training.kinds import (
    ImageClassifier,
    LanguageModel,
    Optimiser,
    TextClassifier,
    TrainingRecipe,
    VideoClassifier,
)

TOPICS = {"sport": "goal coach match", "trade": "price bank stock", "science": "cell planet theory"}

SMALL: dict[str, TrainingRecipe] = {
    "text-classifier": TextClassifier(
        width=16, depth=1, heads=2, context=48, ngram_buckets=256, epochs=3, global_batch_size=16, checkpoint_every=4
    ),
    "image-classifier": ImageClassifier(
        image_size=8, colours="grey", width=8, epochs=3, global_batch_size=16, augment="shift-flip", checkpoint_every=4
    ),
    "video-classifier": VideoClassifier(
        frames=4,
        image_size=8,
        colours="grey",
        patch=4,
        width=32,
        depth=1,
        heads=2,
        epochs=3,
        global_batch_size=16,
        augment="shift",
        checkpoint_every=4,
    ),
    "language-model": LanguageModel(
        width=16, depth=1, heads=2, context=48, epochs=3, global_batch_size=16, checkpoint_every=4
    ),
}
"""One recipe of each kind that trains in well under a second an epoch."""


def fast(recipe: TrainingRecipe, **changes: object) -> TrainingRecipe:
    """The recipe with other values, checked again."""
    return type(recipe).model_validate({**recipe.model_dump(), **changes})


def texts(num_rows: int, seed: int = 0) -> pa.Table:
    """sample_id, text, label (one of three topics) and prompt (sometimes null)."""
    draws = np.random.default_rng(seed)
    names = list(TOPICS)
    labels = [names[number % 3] for number in range(num_rows)]
    rows = [" ".join(draws.choice(TOPICS[label].split(), 4)) for label in labels]
    prompts = [None if number % 4 == 0 else f"about {label}" for number, label in enumerate(labels)]
    return pa.table({"sample_id": _ids(num_rows), "text": rows, "label": labels, "prompt": prompts})


def images(num_rows: int, seed: int = 0, size: int = 8) -> pa.Table:
    """sample_id, image (a PNG of noise with a bright row or column) and label (0: row, 1: column)."""
    draws = np.random.default_rng(seed)
    cells = []
    for number in range(num_rows):
        pixels = draws.integers(0, 60, (size, size), dtype=np.uint8)
        line = int(draws.integers(1, size - 1))
        if number % 2:
            pixels[:, line] = 255
        else:
            pixels[line] = 255
        cells.append(png(pixels))
    return pa.table({"sample_id": _ids(num_rows), "image": cells, "label": [number % 2 for number in range(num_rows)]})


def videos(num_rows: int, seed: int = 0, size: int = 8, frames: int = 4, *, frames_tell: bool = False) -> pa.Table:
    """sample_id, video (frames of noise with a bright column that moves a pixel a frame; every fifth clip is one frame
    shorter) and label (0: to the right, 1: to the left; no frame tells which, but where `frames_tell` by a row in place
    of the column that moves to the left)."""
    draws = np.random.default_rng(seed)
    clips = []
    for number in range(num_rows):
        way, start = 1 - 2 * (number % 2), int(draws.integers(0, size))
        clip = draws.integers(0, 60, (frames - (number % 5 == 4), size, size), dtype=np.uint8)
        for place, picture in enumerate(clip):
            (picture.T if frames_tell and way < 0 else picture)[:, (start + way * place) % size] = 255
        clips.append([png(picture) for picture in clip])
    return pa.table({"sample_id": _ids(num_rows), "video": clips, "label": [number % 2 for number in range(num_rows)]})


def table_for(recipe: TrainingRecipe, num_rows: int, seed: int = 0) -> pa.Table:
    if isinstance(recipe, VideoClassifier):
        return videos(num_rows, seed, frames_tell=True)
    return images(num_rows, seed) if isinstance(recipe, ImageClassifier) else texts(num_rows, seed)


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def write_curated(store: Store, table: pa.Table, *, rows_a_shard: int = 50, seed: int = 0) -> Manifest:
    """The table as shards of a manifest with seeded difficulties."""
    if "label" in table.schema.names:
        table = table.append_column("label_before", pa.nulls(table.num_rows, table.schema.field("label").type))
    scores = np.random.default_rng(seed).random(table.num_rows, dtype=np.float32)
    codes = terciles(scores, table["sample_id"])
    infos: list[ShardInfo] = []
    for first in range(0, table.num_rows, rows_a_shard):
        part = table.slice(first, rows_a_shard).combine_chunks()
        writer = ShardWriter(store, table.schema, batch_rows=16)
        for batch in part.to_batches():
            writer.write(batch)
        [info] = writer.close()
        here, alive = codes[first : first + part.num_rows], np.ones(part.num_rows, dtype=bool)
        infos.append(info.with_index(*write_index(store, here, alive, part["sample_id"].combine_chunks())))
    label = "label" if "label" in table.schema.names else None
    manifest = Manifest.of(table.schema, infos, label=label, recipe_digest="0" * 64, dataset_version="test")
    manifest.save(store)
    return manifest


def quick_optimiser(rate: float) -> Optimiser:
    return Optimiser(learning_rate=rate, warmup=0.0)


def _ids(num_rows: int) -> pa.Array:
    names = [hashlib.md5(str(number).encode(), usedforsecurity=False).digest() for number in range(num_rows)]
    return pa.array(names, pa.binary(16))
