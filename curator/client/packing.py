"""Packed epochs: an epoch's rows written once more, in the order they are consumed, so that trainers read in sequence.

Knows plans, shards and positions; nothing of ranks' meaning, workers or torch.

A pack is shards of the epoch's positions 0, 1, 2, …, padding included, whose record batches hold whole global batches,
and a record that names them. What is read from it equals what is gathered from the plan's manifest, batch by batch,
for any rank and from any position; but each shard is fetched once, in order, and each record batch decoded once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from curator.client.windows import Chunk, Share, difficulty_column, gather, named_difficulties
from curator.epochs.interleave import PADDING
from curator.epochs.plan import EpochPlan
from curator.errors import ConflictError, IntegrityError, NotFoundError
from curator.shards.layout import BATCH_ROWS, LABEL_BEFORE
from curator.shards.manifest import Manifest
from curator.shards.reader import ShardReader
from curator.shards.writer import TARGET_BYTES, ShardWriter
from curator.storage import Store

__all__ = ["Pack", "forget_packs", "pack", "unpack"]

CODE = "winnow.difficulty"
"""The packed shards' column of difficulty codes, int8; null for padding."""
DECODED_BYTES = 64 * 2**20  # of a record batch, going by four times the size on disk


class Pack(BaseModel):
    """The record of a packed epoch. manifest: of its shards, in order; no row of them lives, all are positions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    plan: str
    epoch: int
    epoch_id: str
    manifest: str
    batch_rows: int

    @classmethod
    def load(cls, store: Store, plan: EpochPlan, epoch: int) -> Pack:
        """The pack of an epoch under a root. Raises NotFoundError when there is none, and as `parse`."""
        name = _name(plan.id, epoch)
        try:
            text = store.read_bytes(name)
        except NotFoundError as error:
            raise NotFoundError(
                f"epoch {epoch} of {plan.id} is not packed in {store.uri}; pack it, or read without packed=True"
            ) from error
        return cls.parse(text, plan, epoch, f"{name} in {store.uri}")

    @classmethod
    def parse(cls, text: bytes, plan: EpochPlan, epoch: int, place: str) -> Pack:
        """A pack from its JSON. Raises IntegrityError when it cannot be read, ConflictError when its ratios are not
        the plan's."""
        try:
            found = cls.model_validate_json(text)
        except ValidationError as error:
            raise IntegrityError(f"{place} is not readable: {error}. Pack the epoch again.") from error
        if found.epoch_id != plan.epoch_id(epoch):
            raise ConflictError(
                f"{place} packs {found.epoch_id}, the plan's epoch {epoch} is {plan.epoch_id(epoch)}: other ratios "
                "were recorded. Pack the epoch again."
            )
        return found


def pack(
    plan: EpochPlan,
    manifest: Manifest,
    reader: ShardReader,
    store: Store,
    epoch: int,
    *,
    target_bytes: int = TARGET_BYTES,
    batch_rows: int | None = None,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> Pack:
    """Writes an epoch's rows in order and the record of them, last: what a crash leaves behind is no pack.

    batch_rows: of a record batch, cut to whole global batches; about 4,096, fewer when rows are heavy, when None.
    on_rows: told how many rows are written so far; what it raises ends the writing. Equal plans and rows give equal
    shards; a second call writes nothing new. Raises what the reader and the plan raise, ConflictError when the manifest
    is not the plan's, DiskFullError.
    """
    if manifest.id != plan.manifest:
        raise ConflictError(f"{plan.id} is a plan of {plan.manifest}, not of {manifest.id}")
    batch, writer, num_rows = plan.global_batch_size, None, 0
    fitting = batch_rows or int(min(BATCH_ROWS, DECODED_BYTES / (4 * manifest.mean_row_bytes)))
    batch_rows = max(fitting // batch, 1) * batch
    for draft in gather(plan, manifest, reader, epoch, Share(0, batch)):
        rows = _stored(draft.chunk().rows)
        num_rows += rows.num_rows
        on_rows(num_rows)
        if writer is None:
            writer = ShardWriter(store, rows.schema, target_bytes=target_bytes, batch_rows=batch_rows)
        writer.write(rows)
    assert writer is not None, "a plan has no empty epochs"
    label = manifest.label if LABEL_BEFORE in writer.schema.names else None
    packed = Manifest.of(
        writer.schema, writer.close(), label=label, parent=manifest.id, dataset_version=manifest.dataset_version
    )
    record = Pack(
        plan=plan.id, epoch=epoch, epoch_id=plan.epoch_id(epoch), manifest=packed.save(store), batch_rows=batch_rows
    )
    store.write_bytes(_name(plan.id, epoch), record.model_dump_json().encode())
    return record


def unpack(
    record: Pack,
    packed: Manifest,
    plan: EpochPlan,
    reader: ShardReader,
    share: Share,
    columns: Sequence[str] | None = None,
) -> Iterator[PackedDraft]:
    """A share of a packed epoch in order, a record batch at a time, as `gather` would give it.

    packed: the record's manifest. Raises IntegrityError when it does not hold the epoch's positions.
    """
    batch, mix = plan.global_batch_size, plan.interleave(record.epoch)
    total = sum(info.rows for info in packed.shards)
    if total != mix.length:
        raise IntegrityError(
            f"{record.manifest} holds {total} positions, epoch {record.epoch} of {plan.id} has {mix.length}. "
            "Pack it again."
        )
    names = [column.name for column in packed.columns if column.name != CODE] if columns is None else list(columns)
    first = 0  # position of a record batch's first row
    for shard, info in enumerate(packed.shards):
        for number in range(info.num_batches):
            rows = min(info.batch_rows, info.rows - number * info.batch_rows)
            wanted = share.batches(first // batch, -(-(first + rows) // batch))
            if wanted.size:
                sizes = np.array([mix.batch_rows(int(g)) for g in wanted])
                lows, highs = sizes * share.low // batch, sizes * share.high // batch
                yield PackedDraft(reader, packed, shard, number, names, wanted, wanted * batch - first, lows, highs)
            first += rows


@dataclass(frozen=True)
class PackedDraft:
    """Slices of one record batch: rows [starts + lows, starts + highs) for each wanted global batch."""

    reader: ShardReader
    manifest: Manifest
    shard: int
    number: int
    names: list[str]
    batches: np.ndarray
    starts: np.ndarray
    lows: np.ndarray
    highs: np.ndarray

    def chunk(self) -> Chunk:
        """Decodes the record batch; a share of whole, neighbouring batches is a view of it."""
        rows = self.reader.batch(self.manifest, self.shard, self.number, [*self.names, CODE])
        begins, ends = self.starts + self.lows, self.starts + self.highs
        if (begins[1:] == ends[:-1]).all():
            rows = rows.slice(int(begins[0]), int(ends[-1] - begins[0]))
        else:
            rows = pa.concat_batches(
                [rows.slice(b, e - b) for b, e in zip(begins.tolist(), ends.tolist(), strict=True)]
            )
        codes = rows.column(rows.num_columns - 1)
        rows = rows.select(self.names).append_column(difficulty_column(self.names), _decoded(codes))
        return Chunk(self.batches, np.cumsum(ends - begins), rows)


def _stored(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows with their difficulty as codes."""
    last = rows.num_columns - 1
    codes = rows.column(last).indices
    return rows.remove_column(last).append_column(CODE, codes)


def _decoded(codes: Any) -> Any:
    """Codes as a ShardStream's difficulty column."""
    if not codes.null_count:
        data = np.frombuffer(codes.buffers()[1], dtype=np.uint8, count=len(codes), offset=codes.offset)
    else:
        data = codes.cast(pa.uint8()).fill_null(PADDING).to_numpy()
    return named_difficulties(data)


def forget_packs(store: Store, manifests: Collection[str]) -> None:
    """Removes the records of packs whose rows these manifests list."""
    for name in store.list("packs"):
        try:
            packed = json.loads(store.read_bytes(name))["manifest"]
        except (NotFoundError, ValueError, KeyError, TypeError):
            continue  # removed a moment ago, or no record
        if packed in manifests:
            store.delete(name)


def _name(plan: str, epoch: int) -> str:
    return f"packs/{plan}/{epoch:06d}.json"
