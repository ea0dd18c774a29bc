"""From rows to tensors: text to padded ids, images to pixels, labels to class numbers.

Knows recipes and Arrow; nothing of where the rows come from, of models or of optimisers. Reads columns whole, counts
what it cuts or resizes, and refuses what it cannot read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from curator.errors import InputError
from pipelines.training.augment_images import augmented_images
from pipelines.training.augment_texts import augmented_texts
from pipelines.training.classes import ClassTable
from pipelines.training.images import decode_images, normalised
from pipelines.training.kinds import ImageClassifier, LanguageModel, TextClassifier, TrainingRecipe, VideoClassifier
from pipelines.training.loss import IGNORE
from pipelines.training.spans import Kernel, Spans, window_spans
from pipelines.training.tokens import Tokens, encode
from pipelines.training.transformer import keys_from_lengths
from pipelines.training.videos import decode_videos

__all__ = ["Feed", "TensorBatch", "feed_for", "texts_and_prompts"]


@dataclass(frozen=True)
class TensorBatch:
    """B rows ready for a model."""

    sample_ids: pa.Array
    """of packed texts: one for each piece of the step, on whichever rank, in the order of their positions"""
    inputs: Tensor
    """ids int64[B, T], or pixels float32[B, C, S, S], of clips float32[B, T, C, S, S]"""
    targets: Tensor
    """class numbers int64[B], or next ids int64[B, T] with IGNORE at padding"""
    keys_BT: Tensor | None = None
    """real positions, or frames, bool[B, T]; None where all are"""
    document_BT: Tensor | None = None
    """of packed texts: the piece of each position, int64"""
    spans: Spans | None = None
    """what positions look at, where that is not simply what is before them"""
    context: int | None = None
    """a language model's present context"""
    rows: np.ndarray | None = None
    """of packed texts: (row of the epoch, its targets, this piece's targets), int64[pieces, 3]"""
    num_tokens: int = 0
    num_positions: int = 0
    """padding included"""
    num_truncated: int = 0
    bytes_truncated: int = 0
    num_resized: int = 0
    num_without_target: int = 0
    """packed texts that were left out"""

    def __len__(self) -> int:
        """Rows; of packed texts, pieces."""
        return len(self.sample_ids)

    def pinned(self) -> TensorBatch:
        """In page-locked memory, from which CUDA copies while it computes."""
        return self._each(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> TensorBatch:
        """On the device; the copy does not wait where this batch is pinned."""
        return self if device.type == "cpu" else self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def _each(self, move: Callable[[Tensor], Tensor]) -> TensorBatch:
        return replace(
            self,
            inputs=move(self.inputs),
            targets=move(self.targets),
            keys_BT=None if self.keys_BT is None else move(self.keys_BT),
            document_BT=None if self.document_BT is None else move(self.document_BT),
            spans=None if self.spans is None else self.spans.each(move),
        )


class Feed(Protocol):
    """Rows to tensors, a row of the batch for each."""

    def __call__(self, batch: pa.RecordBatch, step: int | None, context: int | None = None) -> TensorBatch:
        """`step` None is evaluation: nothing random. `context`: a language model's present one, else the recipe's."""
        ...


def feed_for(
    recipe: TrainingRecipe, classes: ClassTable | None, kernel: Kernel = "mask", *, shared: bool = False
) -> Feed:
    """The feed of a recipe, padded layout; classifiers need the class table. `kernel`: for a window's spans. `shared`:
    a batch is one rank's part of a global one, and may hold no target of a language model.

    A batch raises InputError for a row that is unusable. Packed training has a feed of its own: `packed_feed.py`.
    """
    if isinstance(recipe, LanguageModel):
        return lambda batch, step, context=None: _language(batch, recipe, context or recipe.context, kernel, shared)
    assert classes is not None, "a classifier's feed is made with its class table"
    if isinstance(recipe, TextClassifier):
        return lambda batch, step, context=None: _text(batch, step, recipe, classes)
    if isinstance(recipe, VideoClassifier):
        return lambda batch, step, context=None: _video(batch, step, recipe, classes)
    return lambda batch, step, context=None: _image(batch, step, recipe, classes)


def texts_and_prompts(batch: pa.RecordBatch, recipe: LanguageModel) -> tuple[pa.Array, np.ndarray]:
    """(prompt and text of each row as one, how many bytes of it are prompt int64[B]). Raises InputError."""
    texts = _texts(batch, recipe.columns.text)
    prompts = _prompts(batch, recipe.columns.prompt)
    if prompts is None:
        return texts, np.zeros(len(texts), dtype=np.int64)
    joined = pc.binary_join_element_wise(prompts, texts, "")
    return joined, np.asarray(pc.binary_length(prompts)).astype(np.int64)


def _text(batch: pa.RecordBatch, step: int | None, recipe: TextClassifier, classes: ClassTable) -> TensorBatch:
    texts = _texts(batch, recipe.columns.text)
    if step is not None:
        texts = augmented_texts(texts, recipe.augment, batch.column("sample_id"), seed=recipe.seed, step=step)
    tokens = encode(texts, context=recipe.context)
    targets = _classes(batch, recipe.columns.label, classes)
    made = _tokenised(batch, tokens, torch.from_numpy(tokens.ids), targets)
    return replace(made, keys_BT=_keys(tokens))


def _language(batch: pa.RecordBatch, recipe: LanguageModel, context: int, kernel: Kernel, shared: bool) -> TensorBatch:
    """Inputs are ids 0…T-2, targets ids 1…T-1. Not targets: padding, the prompt, and the end mark of a text cut short.

    Raises InputError when that leaves the whole batch without a target, unless others share it.
    """
    texts, begins = texts_and_prompts(batch, recipe)
    tokens = encode(texts, context=context)
    ends = tokens.lengths - 1 - (tokens.cut > 0)
    places = np.arange(tokens.ids.shape[1] - 1)
    real = (places >= begins[:, None]) & (places < ends[:, None])
    if not (shared or real.any()):
        raise InputError(
            f"no row of a batch of {len(real)} has a byte of text inside the context of {context} tokens: "
            "there is nothing to learn; raise `context`",
            column=recipe.columns.text,
        )
    targets = np.where(real, tokens.ids[:, 1:], IGNORE)
    inputs = np.ascontiguousarray(tokens.ids[:, :-1])
    made = _tokenised(batch, tokens, torch.from_numpy(inputs), torch.from_numpy(targets))
    looks = None if recipe.window is None else window_spans(len(inputs), inputs.shape[1], recipe.window, kernel=kernel)
    return replace(made, context=context, spans=looks)


def _image(batch: pa.RecordBatch, step: int | None, recipe: ImageClassifier, classes: ClassTable) -> TensorBatch:
    column, ids = recipe.columns.image, batch.column("sample_id")
    pixels, num_resized = decode_images(
        _column(batch, column), ids, size=recipe.image_size, colours=recipe.colours, column=column
    )
    block = torch.from_numpy(pixels)
    if step is not None:
        block = augmented_images(block, recipe.augment, ids, seed=recipe.seed, step=step)
    return TensorBatch(
        sample_ids=ids,
        inputs=normalised(block),
        targets=_classes(batch, recipe.columns.label, classes),
        num_resized=num_resized,
    )


def _video(batch: pa.RecordBatch, step: int | None, recipe: VideoClassifier, classes: ClassTable) -> TensorBatch:
    column, ids = recipe.columns.video, batch.column("sample_id")
    clips = decode_videos(
        _column(batch, column),
        ids,
        frames=recipe.frames,
        size=recipe.image_size,
        colours=recipe.colours,
        column=column,
    )
    block = torch.from_numpy(clips.pixels)
    if step is not None:
        block = augmented_images(block, recipe.augment, ids, seed=recipe.seed, step=step)
    lengths_B = torch.from_numpy(clips.lengths)
    whole = bool((lengths_B == recipe.frames).all())
    return TensorBatch(
        sample_ids=ids,
        inputs=normalised(block),
        targets=_classes(batch, recipe.columns.label, classes),
        keys_BT=None if whole else keys_from_lengths(lengths_B, recipe.frames),
        num_truncated=clips.num_thinned,
        num_resized=clips.num_resized,
    )


def _tokenised(batch: pa.RecordBatch, tokens: Tokens, inputs: Tensor, targets: Tensor) -> TensorBatch:
    return TensorBatch(
        sample_ids=batch.column("sample_id"),
        inputs=inputs,
        targets=targets,
        num_tokens=int(tokens.lengths.sum()),
        num_positions=inputs.numel(),
        num_truncated=tokens.num_truncated,
        bytes_truncated=int(tokens.cut.sum()),
    )


def _keys(tokens: Tokens) -> Tensor | None:
    width = tokens.ids.shape[1]
    return None if (tokens.lengths == width).all() else keys_from_lengths(torch.from_numpy(tokens.lengths), width)


def _classes(batch: pa.RecordBatch, column: str, classes: ClassTable) -> Tensor:
    return torch.from_numpy(classes.codes(_column(batch, column), batch.column("sample_id"), column=column))


def _prompts(batch: pa.RecordBatch, columns: tuple[str, ...]) -> pa.Array | None:
    """The prompt columns of each row, nulls skipped, each followed by a blank line."""
    if not columns:
        return None
    parts = [pc.binary_join_element_wise(pc.cast(_column(batch, name), pa.string()), "", "\n\n") for name in columns]
    return pc.binary_join_element_wise(*[pc.fill_null(part, "") for part in parts], "")


def _texts(batch: pa.RecordBatch, column: str) -> pa.Array:
    array = _column(batch, column)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        raise InputError(f"text is {array.type}; give a text column as columns.text", column=column)
    if array.null_count:
        row = int(np.flatnonzero(np.asarray(array.is_null()))[0])
        name = batch.column("sample_id")[row].as_py().hex()
        raise InputError(f"the text of sample {name} is null: there is nothing to read; drop the row", column=column)
    return pc.cast(array, pa.string())


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name not in batch.schema.names:
        raise InputError(f"the rows have no such column; they have {', '.join(batch.schema.names)}", column=name)
    return batch.column(name)
