"""The manifest: which shards make a dataset, and which of their rows live. Immutable; its id is its content digest.

Knows digests and counts; opens no shard.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from curator.digest import content_id
from curator.errors import IntegrityError, NotFoundError, RequestError
from curator.shards.canonical import plain_schema
from curator.shards.layout import BATCH_ROWS, LABEL_BEFORE, manifest_name
from curator.storage import Store

__all__ = ["MANIFEST_VERSION", "Column", "Manifest", "ShardInfo", "columns_of"]

MANIFEST_VERSION = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(_Frozen):
    """A column of every shard; `type` is Arrow's name of it."""

    name: str
    type: str


class ShardInfo(_Frozen):
    """One shard. Kept and quarantined ones look alike; rows live where the index says so.

    batch_offsets: byte offsets of the record batches and the end of the last, num_batches + 1 of them.
    batch_checksums: CRC-32 of those byte ranges. frame_checksum: CRC-32 of all other bytes (header and footer).
    index: digest of the index file; null when no row lives. live: rows by difficulty. num_relabeled: rows whose
    label the index overrides. quarantine: the rows were dropped when the shard was written.
    """

    digest: str = Field(pattern="^[0-9a-f]{64}$")
    rows: int = Field(ge=0)
    bytes: int = Field(ge=0)
    batch_rows: int = Field(default=BATCH_ROWS, ge=1)
    batch_offsets: tuple[int, ...]
    batch_checksums: tuple[int, ...]
    frame_checksum: int
    quarantine: bool = False
    index: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    live: tuple[int, int, int] = (0, 0, 0)
    num_relabeled: int = 0

    @property
    def num_batches(self) -> int:
        return len(self.batch_checksums)

    def with_index(self, index: str | None, live: tuple[int, int, int], num_relabeled: int = 0) -> ShardInfo:
        """The same shard under another index."""
        return self.model_copy(update={"index": index, "live": live, "num_relabeled": num_relabeled})


class Manifest(_Frozen):
    """A dataset: shards in order, plus what decided about them.

    label: the column a relabel rewrites, null when the task has none. `created` and `run` say where it came from and
    are no part of the id.
    """

    version: int = MANIFEST_VERSION
    columns: tuple[Column, ...]
    label: str | None = None
    shards: tuple[ShardInfo, ...] = ()
    recipe_digest: str | None = None
    policy_version: str | None = None
    dataset_version: str | None = None
    parent: str | None = None
    created: datetime | None = None
    run: str | None = None

    @model_validator(mode="after")
    def _label_is_stored(self) -> Manifest:
        names = [column.name for column in self.columns]
        if (self.label is not None) != (LABEL_BEFORE in names):
            raise ValueError(
                f"label={self.label!r} with columns {names}: shards of a labelled task have {LABEL_BEFORE!r}"
            )
        if self.label is not None and self.label not in names:
            raise ValueError(f"label column {self.label!r} is not among {names}")
        return self

    @classmethod
    def of(cls, schema: pa.Schema, shards: Sequence[ShardInfo], **fields: Any) -> Manifest:
        """A manifest of shards written with this schema; `fields` are the others (label, recipe_digest, …).

        Raises pydantic.ValidationError, also when `label` does not go with the schema.
        """
        return cls(columns=columns_of(plain_schema(schema)), shards=tuple(shards), **fields)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A changed copy, validated; unlike pydantic's, it does not inherit cached values such as `id`."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self).model_validate({**fields, **(update or {})})

    @cached_property
    def id(self) -> str:
        """`man_` and the digest of everything but `created` and `run`."""
        return content_id("man", self.model_dump(mode="json", exclude={"created", "run"}))

    @property
    def live(self) -> tuple[int, int, int]:
        """Live rows: easy, medium, hard."""
        easy, medium, hard = self.live_by_shard.sum(axis=0).tolist()
        return easy, medium, hard

    @property
    def num_live(self) -> int:
        return sum(self.live)

    @property
    def mean_row_bytes(self) -> float:
        """Bytes on disk of an average row, at least 1."""
        return max(sum(shard.bytes for shard in self.shards) / max(sum(shard.rows for shard in self.shards), 1), 1.0)

    @cached_property
    def live_by_shard(self) -> np.ndarray:
        """int64[num_shards, 3]."""
        return np.array([shard.live for shard in self.shards], dtype=np.int64).reshape(-1, 3)

    def save(self, store: Store) -> str:
        """Writes the manifest unless it is there, and returns its id. This is the commit point of a run."""
        if not store.exists(manifest_name(self.id)):
            store.write_bytes(manifest_name(self.id), self.model_dump_json(indent=1).encode() + b"\n")
        return self.id

    @classmethod
    def load(cls, store: Store, manifest_id: str) -> Manifest:
        """Reads a manifest. Raises NotFoundError, IntegrityError when the content is not what the id says, and
        RequestError when this program does not know its version."""
        if not manifest_id.startswith("man_") or not manifest_id[4:].isalnum():
            raise NotFoundError(f"{manifest_id!r} is not a manifest id; those look like man_0123…")
        try:
            text = store.read_bytes(manifest_name(manifest_id))
        except NotFoundError as error:
            raise NotFoundError(f"no manifest {manifest_id} in {store.uri}; check the id and --root") from error
        return cls.parse(text, manifest_id)

    @classmethod
    def parse(cls, text: bytes | str, manifest_id: str) -> Manifest:
        """A manifest from its JSON, checked against its id; errors as in `load`."""
        try:
            manifest = cls.model_validate_json(text)
        except ValidationError as error:
            _refuse_unknown_version(text, manifest_id)
            raise IntegrityError(f"manifest {manifest_id} is not readable: {error}. Restore it from a copy.") from error
        if manifest.version != MANIFEST_VERSION:
            _refuse_unknown_version(text, manifest_id)
        if manifest.id != manifest_id:
            raise IntegrityError(
                f"manifest {manifest_id} holds the content of {manifest.id}: it was changed after it was written. "
                "Restore it from a copy; it is not served."
            )
        return manifest


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    """The columns of a shard schema, for `Manifest.columns`."""
    return tuple(Column(name=field.name, type=str(field.type)) for field in schema)


def _refuse_unknown_version(text: bytes | str, manifest_id: str) -> None:
    try:
        data: Any = json.loads(text)
    except ValueError:
        return
    version = data.get("version") if isinstance(data, dict) else None
    if version != MANIFEST_VERSION:
        raise RequestError(
            f"manifest {manifest_id} has version {version}, this program knows {MANIFEST_VERSION}; use a newer Winnow"
        )
