"""From rows to packed batches: texts to pieces, pieces to sequences, and what each position may look at.

Knows a language model's recipe and Arrow; nothing of devices, epochs or optimisers. Its state is what it has read and
not yet given: with the stream's cursor, the place from which a job goes on exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa
import torch

from pipelines.training.feed import TensorBatch, texts_and_prompts
from pipelines.training.kinds import LanguageModel
from pipelines.training.loss import IGNORE
from pipelines.training.packing import Packer, PackerState, Piece, Sequence
from pipelines.training.sequences import Packed
from pipelines.training.spans import Kernel, spans
from pipelines.training.tokens import PAD, encode_flat

__all__ = ["FeedState", "PackedFeed"]


@dataclass(frozen=True)
class _Counts:
    """Since the last batch given."""

    num_truncated: int = 0
    bytes_truncated: int = 0
    num_without_target: int = 0


@dataclass(frozen=True)
class FeedState:
    """Everything read and not yet given."""

    packer: PackerState
    num_rows: int
    """rows of the epoch read so far"""
    context: int
    counts: dict[str, int]


class PackedFeed:
    """Rows in with `add`, batches of `tokens_per_step` tokens out with `ready`; `finish` empties it.

    Ranks that take a step together read and pack the same rows; a batch then holds this rank's run of its sequences,
    but `rows` and `sample_ids` of all of them, and what was cut is counted by the first rank.
    """

    def __init__(self, recipe: LanguageModel, kernel: Kernel, *, rank: int = 0, num_ranks: int = 1):
        assert isinstance(recipe.layout, Packed), "the packed feed serves the packed layout"
        self._rank, self._num_ranks = rank, num_ranks
        self._recipe, self._layout, self._kernel = recipe, recipe.layout, kernel
        self._context = recipe.context
        self._packer = Packer(self._context, self._layout.open_sequences)
        self._num_rows, self._counts = 0, _Counts()

    @property
    def context(self) -> int:
        return self._context

    def add(self, batch: pa.RecordBatch) -> None:
        """Reads a batch of rows. Raises InputError for a row that cannot be read."""
        texts, begins = texts_and_prompts(batch, self._recipe)
        flat, ends = encode_flat(texts)
        names = batch.column("sample_id")
        first = 0
        for row, end in enumerate(ends.tolist()):
            self._add_text(flat[first:end], int(begins[row]), names[row].as_py())
            first = end

    def ready(self) -> Iterator[TensorBatch]:
        """The batches that are full."""
        while len(self._packer.full) >= self._num_sequences:
            yield self._batch(self._packer.take(self._num_sequences))

    def finish(self) -> Iterator[TensorBatch]:
        """What is left, the last batch filled up with padding. The next row counts as the first of an epoch."""
        yield from self._rest()
        self._num_rows = 0

    def change_context(self, context: int) -> Iterator[TensorBatch]:
        """What was read under the present context, and then sequences are that long; nothing if they already are."""
        if context != self._context:
            yield from self._rest()
            self._context = self._packer.length = context

    def state(self) -> FeedState:
        return FeedState(self._packer.state(), self._num_rows, self._context, asdict(self._counts))

    def load(self, state: FeedState) -> None:
        self._context = self._packer.length = state.context
        self._packer.load(state.packer)
        self._num_rows, self._counts = state.num_rows, _Counts(**state.counts)

    @property
    def _num_sequences(self) -> int:
        return self._layout.tokens_per_step // self._context

    def _rest(self) -> Iterator[TensorBatch]:
        self._packer.close_all()
        while len(self._packer):
            yield self._batch(self._packer.take(self._num_sequences))

    def _add_text(self, ids: np.ndarray, begin: int, sample_id: bytes) -> None:
        """The text as pieces; ids are [BEGIN, prompt, text, END]. A target in the prompt, its first `begin` bytes, is
        none. A piece without any is not packed: nobody would learn from it, and no other piece looks at it."""
        row, self._num_rows, counts = self._num_rows, self._num_rows + 1, self._counts
        if self._layout.long_texts == "cut" and len(ids) > self._context + 1:
            lost = len(ids) - 1 - (self._context + 1)
            counts = replace(
                counts, num_truncated=counts.num_truncated + 1, bytes_truncated=counts.bytes_truncated + lost
            )
            ids = ids[: self._context + 1]
        inputs, targets = ids[:-1], ids[1:].copy()
        targets[:begin] = IGNORE
        row_targets = int((targets != IGNORE).sum())
        for first in range(0, len(inputs) if row_targets else 0, self._context):
            part = slice(first, first + self._context)
            if (targets[part] != IGNORE).any():
                self._packer.add(Piece(row, row_targets, sample_id, inputs[part].copy(), targets[part]))
        self._counts = replace(counts, num_without_target=counts.num_without_target + (not row_targets))

    def _batch(self, sequences: list[Sequence]) -> TensorBatch:
        share = self._num_sequences // self._num_ranks
        begin = self._rank * share
        own, before = sequences[begin : begin + share], sequences[:begin]
        shape = (share, self._context)
        inputs, targets = np.full(shape, PAD, np.int64), np.full(shape, IGNORE, np.int64)
        document, pieces = np.zeros(shape, np.int64), [piece for sequence in sequences for piece in sequence]
        number = sum(map(len, before))
        for row, sequence in enumerate(own):
            first = 0
            for piece in sequence:
                part = slice(first, first + len(piece))
                inputs[row, part], targets[row, part], document[row, part] = piece.inputs, piece.targets, number
                first, number = part.stop, number + 1
        lengths = [[len(piece) for piece in sequence] for sequence in own]
        lengths += [[] for _ in range(share - len(own))]
        counts, self._counts = self._counts if self._rank == 0 else _Counts(), _Counts()
        return TensorBatch(
            sample_ids=pa.array([piece.sample_id for piece in pieces], pa.binary(16)),
            inputs=torch.from_numpy(inputs),
            targets=torch.from_numpy(targets),
            document_BT=torch.from_numpy(document),
            spans=spans(lengths, self._context, kernel=self._kernel, window=self._recipe.window),
            context=self._context,
            rows=np.array([(p.row, p.row_targets, int((p.targets != IGNORE).sum())) for p in pieces], dtype=np.int64),
            num_tokens=sum(map(sum, lengths)),
            num_positions=inputs.size,
            **asdict(counts),
        )
