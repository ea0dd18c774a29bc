"""Overturning verdicts: a new manifest over the same shards. Nothing is rewritten but indexes.

Knows manifests, indexes and rows' labels; not who decided or why (the ledger and the catalog do).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from curator.difficulty import MEDIUM, NAMES, UNKNOWN
from curator.errors import RequestError
from curator.shards.index import Overlay, ShardIndex
from curator.shards.layout import LABEL_BEFORE, SAMPLE_ID
from curator.shards.manifest import Manifest, ShardInfo
from curator.shards.open_shard import OpenShard
from curator.shards.reader import ShardReader
from curator.storage import Store

__all__ = ["Override", "override"]


class Override(BaseModel):
    """One decision about one row.

    keep: the row lives, with the label it was given. drop: it does not. relabel: it lives, with `label`.
    difficulty: of the row from now on; when not given, what it had before, and medium if it never had one (a row
    dropped by the run was never measured).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_id: str = Field(pattern="^[0-9a-f]{32}$")
    action: Literal["keep", "drop", "relabel"]
    label: str | int | float | bool | None = None
    difficulty: Literal["easy", "medium", "hard"] | None = None


def override(manifest: Manifest, store: Store, changes: Sequence[Override]) -> Manifest:
    """A saved child of the manifest with the changes made; shards stay as they are.

    Raises NotFoundError naming sample ids that are in no shard, RequestError on no changes, two for one row, or a
    label that does not fit.
    """
    _check(manifest, changes)
    reader = ShardReader(store)
    ids = pa.array([bytes.fromhex(change.sample_id) for change in changes], type=pa.binary(16))
    places = reader.locate(manifest, ids)
    shards = list(manifest.shards)
    for number in np.unique(places[:, 0]).tolist():
        chosen = np.flatnonzero(places[:, 0] == number).tolist()
        by_row = {int(places[i, 1]): changes[i] for i in chosen}
        shards[number] = _Revision(reader.open(manifest, number), manifest.label).apply(by_row, store)
    child = manifest.model_copy(update={"shards": tuple(shards), "parent": manifest.id, "created": None, "run": None})
    child.save(store)
    return child


def _check(manifest: Manifest, changes: Sequence[Override]) -> None:
    if not changes:
        raise RequestError("no changes given; an override needs at least one")
    names = [change.sample_id for change in changes]
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise RequestError(f"sample {repeated} is changed more than once; give one decision a row")
    for change in changes:
        if (change.action == "relabel") != (change.label is not None):
            raise RequestError(
                f"sample {change.sample_id}: {change.action} with label {change.label!r}; only a relabel has one"
            )
        if change.action == "relabel" and manifest.label is None:
            raise RequestError(
                f"sample {change.sample_id}: {manifest.id} has no label column, so nothing can be relabelled"
            )


class _Revision:
    """One shard's index being changed."""

    def __init__(self, shard: OpenShard, label: str | None):
        self._shard, self._label = shard, label
        self._difficulty, self._live = shard.index.difficulty_of_rows(shard.info.rows)
        overlay = shard.index.overlay
        self._labels: dict[int, Any] = (
            {} if overlay is None else dict(zip(overlay.rows.tolist(), overlay.labels.to_pylist(), strict=True))
        )

    def apply(self, changes: dict[int, Override], store: Store) -> ShardInfo:
        for row, change in changes.items():
            self._live[row] = change.action != "drop"
            if change.difficulty is not None:
                self._difficulty[row] = NAMES.index(change.difficulty)
            elif self._difficulty[row] == UNKNOWN and self._live[row]:
                self._difficulty[row] = MEDIUM
        if self._label is not None:
            self._relabel(changes)
        index = ShardIndex.build(self._difficulty, self._live, self._sample_ids(), self._overlay())
        return self._shard.info.with_index(index.save(store), index.live_counts, len(self._labels))

    def _relabel(self, changes: dict[int, Override]) -> None:
        """Sets or clears overlay entries: an entry stands only where the label differs from the stored one."""
        for row, change in changes.items():
            stored, before = self._stored(row)
            self._labels.pop(row, None)
            if change.action == "relabel":
                wanted = self._typed(change)
            else:
                wanted = stored if before is None or change.action == "drop" else before
                if wanted is None and change.action == "keep":
                    raise RequestError(f"sample {change.sample_id} has no label to be kept with: relabel it instead")
            if wanted != stored:
                self._labels[row] = wanted

    def _stored(self, row: int) -> tuple[Any, Any]:
        """(label, label_before) as written in the shard."""
        number, place = divmod(row, self._shard.info.batch_rows)
        rows = self._shard.stored(number, [self._label or "", LABEL_BEFORE])
        return rows.column(0)[place].as_py(), rows.column(1)[place].as_py()

    def _typed(self, change: Override) -> Any:
        """The new label, if the column can hold just that: no text made of a number, no digits lost."""
        data_type = self._label_type
        try:
            value = pa.scalar(change.label).cast(data_type).as_py()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise RequestError(
                f"sample {change.sample_id}: label {change.label!r} is no {data_type}: {error}"
            ) from error
        alike = type(value) is type(change.label) or (isinstance(value, float) and type(change.label) is int)
        if value != change.label or not alike:
            raise RequestError(f"sample {change.sample_id}: label {change.label!r} is no {data_type}")
        return value

    @property
    def _label_type(self) -> pa.DataType:
        return self._shard.schema.field(self._label).type

    def _overlay(self) -> Overlay | None:
        if not self._labels:
            return None
        rows = sorted(self._labels)
        labels = pa.array([self._labels[row] for row in rows], type=self._label_type)
        return Overlay(np.array(rows, dtype=np.uint32), labels)

    def _sample_ids(self) -> pa.ChunkedArray:
        batches = [self._shard.batch(i, [SAMPLE_ID]).column(0) for i in range(self._shard.info.num_batches)]
        return pa.chunked_array(batches, type=pa.binary(16))
