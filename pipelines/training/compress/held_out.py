"""The held-out rows: which they are, and what a model is worth on them: accuracy, loss, whether all scores are numbers.

Knows tables, manifests and feeds; a model is anything that turns inputs into scores.

A row counts if it matches the recipe's `held_out.where` and its content is not among the rows trained on; those that
are were learned by heart, so they are left out and counted.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.nn import functional as F

from curator.client.sources import open_source
from curator.errors import RequestError
from curator.readers import discover, matches, plan_inputs, read
from curator.shards.reader import ShardReader
from pipelines.training.checkpoint import TrainedModel
from pipelines.training.compress.recipe import HeldOutRows
from pipelines.training.compress.scoring import Run
from pipelines.training.feed import TensorBatch, feed_for
from pipelines.training.kinds import TrainingRecipe
from pipelines.training.precision import cpu_threads
from pipelines.training.pull import columns_of
from pipelines.training.rows import with_sample_ids

__all__ = ["HeldOut", "Measured", "content_digests", "digests_of", "held_out_table"]

_LATENCY_ROWS = 64
_BATCH = 128


class Measured(BaseModel):
    """Over all held-out rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accuracy: float
    mean_loss: float
    """nats"""
    finite: bool
    """every score is a number"""


@dataclass(frozen=True)
class HeldOut:
    """Held-out rows as tensors on the CPU."""

    batches: tuple[TensorBatch, ...]
    singles: tuple[TensorBatch, ...]
    """the first rows, one by one: what latency is measured on"""
    num_rows: int
    num_trained_on: int = 0
    """left out because they were learned from"""

    @classmethod
    def of(cls, trained: TrainedModel, table: pa.Table, num_trained_on: int = 0) -> HeldOut:
        """Raises InputError for a row that cannot be scored: a label of another task, text that is none …"""
        feed = feed_for(trained.recipe, trained.class_table)
        rows = with_sample_ids(table).combine_chunks()
        batches = tuple(feed(batch, None) for batch in rows.to_batches(max_chunksize=_BATCH))
        singles = tuple(feed(batch, None) for batch in rows.slice(0, _LATENCY_ROWS).to_batches(max_chunksize=1))
        return cls(batches, singles, table.num_rows, num_trained_on)

    @property
    def targets(self) -> Tensor:
        """class numbers int64[N]"""
        return torch.cat([batch.targets for batch in self.batches])

    def scores(self, run: Run) -> Tensor:
        """float32[N, C] of all rows, in order."""
        with torch.no_grad(), cpu_threads(1):
            return torch.cat([run(batch.inputs, batch.keys_BT).float() for batch in self.batches])

    def measure(self, scores: Tensor) -> Measured:
        """A tie goes to the first class."""
        targets = self.targets
        right = (scores.argmax(dim=1) == targets).double().mean()
        loss = F.cross_entropy(scores.double(), targets)
        return Measured(accuracy=float(right), mean_loss=float(loss), finite=bool(scores.isfinite().all()))

    def latency_ms(self, run: Run) -> float:
        """Median milliseconds for one row, rows one by one on one CPU thread, after a warm-up of all of them."""
        times = []
        with torch.no_grad(), cpu_threads(1):
            for batch in (*self.singles, *self.singles):
                began = time.perf_counter()
                run(batch.inputs, batch.keys_BT)
                times.append(time.perf_counter() - began)
        return float(np.median(times[len(self.singles) :])) * 1000


def held_out_table(
    where_from: Sequence[str],
    wish: HeldOutRows,
    recipe: TrainingRecipe,
    root: Any = None,
    trained_on: str | None = None,
) -> pa.Table:
    """The content and label of the rows that match, under the training recipe's column names.

    `where_from`: files that readers read, or one manifest (`man_…`), looked up in `root`: a root or a Client. Raises
    RequestError of the fitting kind: files that cannot be read, a missing column, no row, the manifest trained on.
    """
    content, label = columns_of(recipe)
    names = {wish.content or content: content, wish.label or label: label}
    if len(where_from) == 1 and where_from[0].startswith("man_"):
        pieces: Iterable[pa.RecordBatch] = _of_manifest(where_from[0], root, trained_on)
    else:
        pieces = _of_files(where_from)
    found = [_chosen(batch, wish, names) for batch in pieces]
    table = pa.Table.from_batches([batch for batch in found if batch.num_rows]) if any(map(len, found)) else None
    if table is None:
        raise RequestError(
            f"no held-out row: {', '.join(where_from)} has none that matches {wish.where!r}. A model without rows to "
            "prove itself on cannot be compressed; correct held_out.where"
        )
    return table


def _of_files(paths: Sequence[str]) -> Iterable[pa.RecordBatch]:
    plan = plan_inputs(discover(paths), unit_rows=1 << 20)
    for unit in plan.units:
        for rows in read(unit, schema=plan.schema):
            yield rows.batch


def _of_manifest(name: str, root: Any, trained_on: str | None) -> Iterable[pa.RecordBatch]:
    if name == trained_on:
        raise RequestError(
            f"the held-out set {name} is the manifest that the model was trained on: it would prove nothing. Give "
            "rows that were kept apart"
        )
    source = open_source(root)
    yield from ShardReader(source).iter_batches(source.manifest(name))


def _chosen(batch: pa.RecordBatch, wish: HeldOutRows, names: dict[str, str]) -> pa.RecordBatch:
    for name in names:
        if name not in batch.schema.names:
            raise RequestError(
                f"the held-out set has no column {name!r}, which the model's task needs; it has "
                f"{', '.join(batch.schema.names)}. Name the columns under held_out.content and held_out.label"
            )
    kept = batch.filter(matches(batch, wish.where)) if wish.where else batch
    return pa.RecordBatch.from_arrays([kept.column(name) for name in names], names=list(names.values()))


def content_digests(pieces: Iterable[pa.Array]) -> set[bytes]:
    """What rows hold, as a set to look others up in."""
    return {digest for piece in pieces for digest in digests_of(piece)}


def digests_of(content: pa.Array) -> Iterator[bytes]:
    """A digest of each text, or of each image's bytes, in order."""
    cells = content.field("bytes") if pa.types.is_struct(content.type) else content
    for cell in pc.cast(cells, pa.large_binary()).to_pylist():
        yield hashlib.blake2b(cell or b"", digest_size=16).digest()
