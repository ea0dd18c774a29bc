"""From a row stream to batches on the device, made and copied ahead of the step, each with the place after it.

Knows streams, feeds and devices; nothing of models or optimisers. On CUDA a thread reads, packs, pins and copies on a
stream of its own, two batches ahead, so that a step finds its batch there.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch

from pipelines.training.classes import ClassTable
from pipelines.training.course import Course, in_blocks, is_packed
from pipelines.training.feed import TensorBatch, feed_for
from pipelines.training.kernels import kernel_for_spans
from pipelines.training.kinds import LanguageModel, TrainingRecipe
from pipelines.training.loss import IGNORE
from pipelines.training.packed_feed import FeedState, PackedFeed
from pipelines.training.precision import Placement
from pipelines.training.read_ahead import read_ahead
from pipelines.training.rows import RowStream

__all__ = ["Place", "Supplied", "Supply"]

_READ_AHEAD = 2


@dataclass(frozen=True)
class Place:
    """Where a job stands in its rows: everything after it is still to come."""

    cursor: dict[str, Any] | None = None
    """the stream's, inside its epoch; None: at the first batch"""
    num_read: int = 0
    """batches of rows read since the job began"""
    feed: FeedState | None = None
    """what was read and is not yet learned, when packed"""


@dataclass(frozen=True)
class Supplied:
    batch: TensorBatch
    place: Place
    num_targets: int
    """what the batch's mean loss is a mean over: rows with a class, or next ids"""
    copied: torch.cuda.Event | None = None

    def on_device(self) -> TensorBatch:
        """The batch; the present stream waits for its copy, this thread does not."""
        if self.copied is not None:
            torch.cuda.current_stream().wait_event(self.copied)
        return self.batch


class Supply:
    """The batches of a job, epoch by epoch."""

    def __init__(
        self,
        rows: RowStream,
        recipe: TrainingRecipe,
        classes: ClassTable | None,
        course: Course,
        placement: Placement,
        *,
        shared: bool = False,
        rank: int = 0,
        num_ranks: int = 1,
    ):
        """`shared`: the rows of a batch are one rank's part of a global one. `rank` of `num_ranks` that take a step
        together: when packed, its sequences are theirs in turn."""
        device = placement.device
        self._rows, self._recipe, self._course, self._device = rows, recipe, course, device
        self._rank, self._num_ranks = rank, num_ranks
        self._kernel = kernel_for_spans(device, placement.attention_dtype, compiled=in_blocks(recipe))
        self._feed = feed_for(recipe, classes, self._kernel, shared=shared)
        self._side = torch.cuda.Stream(device) if device.type == "cuda" else None

    def epoch(self, epoch: int, step: int, place: Place) -> Generator[Supplied, None, None]:
        """The rest of an epoch from a place inside it, at its beginning where that has no cursor. Close it when done.

        Raises InputError for a row that cannot be learned from.
        """
        self._rows.set_epoch(epoch)
        if place.cursor is not None:
            self._rows.load_state_dict(place.cursor)
        made = self._packed(step, place) if is_packed(self._recipe) else self._padded(step, place)
        return read_ahead(map(self._moved, made), 0 if self._side is None else _READ_AHEAD)

    def _padded(self, step: int, place: Place) -> Iterator[tuple[TensorBatch, Place]]:
        num_read, recipe = place.num_read, self._recipe
        for rows in self._rows.iter_batches():
            context = self._course.context(step, num_read, recipe) if isinstance(recipe, LanguageModel) else None
            num_read, batch = num_read + 1, self._feed(rows, step, context)
            yield batch, Place(self._rows.state_dict(), num_read)
            step += 1

    def _packed(self, step: int, place: Place) -> Iterator[tuple[TensorBatch, Place]]:
        """Sequences are finished with the epoch, so that no batch holds rows of two; and with a stage of the context,
        before the rows that come after it are read."""
        recipe, num_read, cursor = self._recipe, place.num_read, place.cursor
        assert isinstance(recipe, LanguageModel)
        feed = PackedFeed(recipe, self._kernel, rank=self._rank, num_ranks=self._num_ranks)
        if place.feed is not None:
            feed.load(place.feed)
        source: Iterator[pa.RecordBatch | None] = self._rows.iter_batches()
        while True:
            for batch in feed.ready():
                step += 1
                yield batch, Place(cursor, num_read, feed.state())
            for batch in feed.change_context(self._course.context(step, num_read, recipe)):
                step += 1
                yield batch, Place(cursor, num_read, feed.state())
            rows = next(source, None)
            if rows is None:
                break
            feed.add(rows)
            num_read, cursor = num_read + 1, self._rows.state_dict()
        for batch in feed.finish():
            yield batch, Place(cursor, num_read, feed.state())

    def _moved(self, made: tuple[TensorBatch, Place]) -> Supplied:
        batch, place = made
        targets = int((batch.targets != IGNORE).sum())
        if self._side is None:
            return Supplied(batch, place, targets)
        with torch.cuda.stream(self._side):
            moved = batch.pinned().to(self._device)
            copied = torch.cuda.Event()
            copied.record()
        return Supplied(moved, place, targets, copied)
