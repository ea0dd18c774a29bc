"""The epoch plan: which row stands at which position of which epoch, as a formula.

Knows counts of live rows by difficulty; where a row lies (shard, row) is `curator.epochs.locate`'s, its bytes are
`curator.shards`'.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from curator.digest import content_id
from curator.epochs.adaptive import Adaptive
from curator.epochs.apportion import apportion, exact_shares
from curator.epochs.curriculum import AnyCurriculum, Constant, Linear, Mix, Ratios, Staged, curriculum_of
from curator.epochs.interleave import PADDING, Counts, Interleave, Slots
from curator.epochs.permutation import derive_key
from curator.epochs.shuffle import Shuffle, Walk
from curator.errors import ConflictError, RequestError
from curator.shards.layout import BATCH_ROWS
from curator.shards.manifest import Manifest

__all__ = ["PADDING", "EpochPlan", "Positions", "Tail", "rank_slice"]

Tail = Literal["drop", "pad", "short"]
BLOCK_BYTES = 4 * 2**20
Shares = tuple[Fraction, ...]


class Positions(NamedTuple):
    """Rows in order: difficulty uint8[m] (PADDING where empty) and rank int64[m] among that difficulty's live rows
    (-1 where empty)."""

    difficulty: np.ndarray
    rank: np.ndarray


class EpochPlan(BaseModel):
    """Everything an epoch's order depends on; equal fields, equal `id`, equal order, on any machine and world size."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    manifest: str
    live: tuple[int, int, int] = Field(description="live rows of the manifest: easy, medium, hard")
    curriculum: Annotated[Staged | Constant | Linear | Adaptive, Field(discriminator="kind")] = Staged()
    num_epochs: int = Field(default=10, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    global_batch_size: int = Field(default=64, ge=1)
    epoch_size: int | None = Field(
        default=None,
        ge=1,
        description="rows an epoch; null: as many as repeat no row, with tail=drop in whole global batches",
    )
    shuffle: Shuffle = "window"
    tail: Tail = Field(default="drop", description="what becomes of rows that do not fill a last global batch")
    block_rows: int = Field(default=4096, ge=1, description="rows of one difficulty moved together by shuffle=window")
    window_blocks: int = Field(default=16, ge=1, description="blocks whose rows are mixed by shuffle=window")

    recorded: tuple[Mix, ...] = Field(
        default=(), description="ratios of the epochs decided so far, for an adaptive curriculum; no part of the id"
    )

    @model_validator(mode="before")
    @classmethod
    def _first_epoch_is_known(cls, fields: Any) -> Any:
        curriculum = fields.get("curriculum") if isinstance(fields, dict) else None
        if isinstance(curriculum, dict) and curriculum.get("kind") == "adaptive":
            curriculum = Adaptive.model_validate(curriculum)
        if isinstance(curriculum, Adaptive) and not fields.get("recorded"):
            return {**fields, "curriculum": curriculum, "recorded": (curriculum.start,)}
        return fields

    @model_validator(mode="after")
    def _recorded_is_lawful(self) -> Self:
        if not isinstance(self.curriculum, Adaptive) and self.recorded:
            raise ValueError(f"recorded ratios with a {self.curriculum.kind} curriculum; only an adaptive one has them")
        if len(self.recorded) > self.num_epochs:
            raise ValueError(f"{len(self.recorded)} epochs recorded of {self.num_epochs}")
        return self

    @model_validator(mode="after")
    def _can_be_filled(self) -> Self:
        seen: set[Ratios] = set()
        for epoch in range(self.num_known):
            ratios = self.ratios(epoch)
            if ratios not in seen:
                self._check_epoch(epoch, ratios)
                seen.add(ratios)
        return self

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        *,
        curriculum: AnyCurriculum | Adaptive = "staged",
        num_epochs: int = 10,
        seed: int = 0,
        global_batch_size: int = 64,
        epoch_size: int | None = None,
        shuffle: Shuffle = "window",
        tail: Tail = "drop",
    ) -> EpochPlan:
        """The plan of a manifest; blocks of the window shuffle are sized to about 4 MiB on disk, a
        quarter of a record batch at least.

        Raises RequestError on values out of range or a manifest that cannot fill an epoch.
        """
        batch_rows = max((info.batch_rows for info in manifest.shards), default=BATCH_ROWS)
        block_rows = min(max(int(BLOCK_BYTES / manifest.mean_row_bytes), batch_rows // 4, 1), BATCH_ROWS)
        try:
            return cls(
                manifest=manifest.id,
                live=manifest.live,
                curriculum=_curriculum_of(curriculum),
                num_epochs=num_epochs,
                seed=seed,
                global_batch_size=global_batch_size,
                epoch_size=epoch_size,
                shuffle=shuffle,
                tail=tail,
                block_rows=1 << (block_rows.bit_length() - 1),
            )
        except ValidationError as error:
            raise RequestError(f"not a lawful epoch plan: {error}") from error

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A changed copy, validated; unlike pydantic's, it does not inherit cached values such as `id`."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self).model_validate({**fields, **(update or {})})

    @cached_property
    def id(self) -> str:
        """`epl_` and the digest of the plan's canonical JSON."""
        return content_id("epl", self.model_dump(mode="json", exclude={"recorded"}))

    def epoch_id(self, epoch: int) -> str:
        """`epo_` and the digest of all an epoch's order depends on: the plan, the epoch, and the ratios up to it.

        Raises as `ratios`.
        """
        ratios = [list(self.ratios(e)) for e in range(epoch + 1)]
        return content_id("epo", {"plan": self.id, "epoch": epoch, "ratios": ratios})

    @property
    def num_known(self) -> int:
        """Epochs whose ratios are decided: all, or those recorded when the curriculum is adaptive."""
        return len(self.recorded) if isinstance(self.curriculum, Adaptive) else self.num_epochs

    def ratios(self, epoch: int) -> Ratios:
        """The curriculum's mix. Raises RequestError when the plan has no such epoch, ConflictError when an adaptive
        plan's journal does not have it yet."""
        if not isinstance(self.curriculum, Adaptive):
            return self.curriculum.ratios(epoch, self.num_epochs)
        if not 0 <= epoch < self.num_epochs:
            raise RequestError(f"epoch {epoch} is outside 0 to {self.num_epochs - 1}; give a larger num_epochs")
        if epoch >= self.num_known:
            raise ConflictError(
                f"epoch {epoch} of {self.id} is not decided yet: its ratios follow from the losses of epoch "
                f"{self.num_known - 1}. Record them in the plan's journal first."
            )
        easy, medium, hard = (float(share) for share in self.recorded[epoch].shares)
        return Ratios(easy, medium, hard)

    def num_positions(self, epoch: int) -> int:
        """Length of the epoch in positions, padding included."""
        return self.interleave(epoch).length

    def num_batches(self, epoch: int) -> int:
        """Global batches of the epoch, a short or padded last one included."""
        return self.interleave(epoch).num_batches

    def quotas(self, epoch: int) -> Counts:
        """Rows of each difficulty in the epoch."""
        return _added(*self._split(self.ratios(epoch)))

    def positions(self, epoch: int, start: int, stop: int) -> Positions:
        """The rows at positions [start, stop) of an epoch, O(stop - start + global_batch_size).

        Raises RequestError when the epoch or the range is not in the plan.
        """
        mix = self.interleave(epoch)
        if not 0 <= start <= stop <= mix.length:
            raise RequestError(f"positions {start} to {stop} are not within 0 to {mix.length}, epoch {epoch}'s length")
        return self.ranks(epoch, mix.positions(start, stop))

    def ranks(self, epoch: int, slots: Slots) -> Positions:
        """The rows that fill the given slots of an epoch."""
        rank = np.full(len(slots.nth), -1, dtype=np.int64)
        for difficulty, walk in enumerate(self.walks(epoch)):
            chosen = np.flatnonzero(slots.difficulty == difficulty)
            if chosen.size:
                rank[chosen] = walk.rows(slots.nth[chosen])
        return Positions(slots.difficulty, rank)

    def interleave(self, epoch: int) -> Interleave:
        """How the epoch's difficulties are laid out. Raises RequestError when the plan has no such epoch."""
        if epoch not in self._interleaves:
            full, tail = self._split(self.ratios(epoch))
            key = derive_key(self.seed, "turn", epoch)
            num_full = sum(full) // self.global_batch_size
            self._interleaves[epoch] = Interleave(self.global_batch_size, num_full, full, tail, self.tail == "pad", key)
        return self._interleaves[epoch]

    def walks(self, epoch: int) -> tuple[Walk, Walk, Walk]:
        """Where each difficulty's rows come from in an epoch."""
        quotas = self.quotas(epoch)
        easy, medium, hard = (self._walk(epoch, d, self._served[epoch][d], quotas[d]) for d in range(3))
        return easy, medium, hard

    def _walk(self, epoch: int, difficulty: int, cursor: int, count: int) -> Walk:
        return Walk(
            shuffle=self.shuffle,
            num_rows=self.live[difficulty],
            cursor=cursor,
            count=count,
            circle_key=derive_key(self.seed, "circle", difficulty),
            epoch_key=derive_key(self.seed, "epoch", epoch, difficulty),
            block_rows=self.block_rows,
            window_blocks=self.window_blocks,
        )

    @cached_property
    def _interleaves(self) -> dict[int, Interleave]:
        """Those of the epochs asked for so far."""
        return {}

    @cached_property
    def _served(self) -> list[Counts]:
        """Rows of each difficulty in all epochs before an epoch."""
        return list(itertools.accumulate(map(self.quotas, range(self.num_known - 1)), _added, initial=(0, 0, 0)))

    @cached_property
    def _splits(self) -> dict[Ratios, tuple[Counts, Counts]]:
        """What `_split` found so far."""
        return {}

    def _split(self, ratios: Ratios) -> tuple[Counts, Counts]:
        """Rows of each difficulty in an epoch's full global batches, and in its tail."""
        if ratios not in self._splits:
            shares = exact_shares(ratios)
            size = self._most(shares) if self.epoch_size is None else self.epoch_size
            self._splits[ratios] = self._cut(size, shares)
        return self._splits[ratios]

    def _most(self, shares: Shares) -> int:
        """The largest epoch of these shares that draws no row twice."""
        size = min(int(rows / share) for rows, share in zip(self.live, shares, strict=True) if share)
        while any(drawn > rows for drawn, rows in zip(_added(*self._cut(size, shares)), self.live, strict=True)):
            size -= 1  # two roundings, of the full batches and of the tail, may ask for a row more than there is
        return size

    def _cut(self, size: int, shares: Shares) -> tuple[Counts, Counts]:
        num_full, rest = divmod(size, self.global_batch_size)
        full = apportion(num_full * self.global_batch_size, shares)
        tail = apportion(rest if self.tail != "drop" else 0, shares)
        return (full[0], full[1], full[2]), (tail[0], tail[1], tail[2])

    def _check_epoch(self, epoch: int, ratios: Ratios) -> None:
        drawn = _added(*self._split(ratios))
        wanting = [d for d in range(3) if ratios[d] and not self.live[d]]
        if wanting and (not sum(drawn) or any(drawn[d] for d in wanting)):
            missing = " and ".join(Ratios._fields[d] for d in wanting)
            mix = ", ".join(f"{name}: {int(rows > 0)}" for name, rows in zip(Ratios._fields, self.live, strict=True))
            raise RequestError(
                f"epoch {epoch} asks for {_percent(ratios)} of {self._stock}: nothing to draw from for {missing}. Give "
                f"a curriculum with weight only where there are rows, such as {{kind: constant, {mix}}}."
            )
        if not sum(drawn):
            raise RequestError(
                f"epoch {epoch} would be empty: {self._stock} cannot fill one global batch of {self.global_batch_size} "
                f"at {_percent(ratios)} without repeating rows. Lower global_batch_size, give epoch_size, or let the "
                "last batch be short (tail: short)."
            )

    @property
    def _stock(self) -> str:
        return "{} easy, {} medium and {} hard rows".format(*self.live)


def _curriculum_of(value: AnyCurriculum | Adaptive) -> Staged | Constant | Linear | Adaptive:
    """As `curriculum_of`, and the adaptive one, which only a plan with a journal can follow."""
    kind = value.get("kind") if isinstance(value, dict) else value
    if isinstance(value, Adaptive):
        return value
    if kind == "adaptive":
        return Adaptive.model_validate({"kind": kind} if isinstance(value, str) else value)
    return curriculum_of(value)


def rank_slice(global_batch_size: int, rank: int, world_size: int) -> tuple[int, int]:
    """Rank r's places [low, high) in every global batch. Raises RequestError unless world_size divides the batch."""
    if not 0 <= rank < world_size:
        raise RequestError(f"rank {rank} is outside 0 to {world_size - 1} (world_size {world_size})")
    if global_batch_size % world_size:
        raise RequestError(
            f"world_size {world_size} does not divide global_batch_size {global_batch_size}, so ranks would get "
            "unequal shares; choose a multiple of the world size"
        )
    share = global_batch_size // world_size
    return rank * share, (rank + 1) * share


def _added(first: Counts, second: Counts) -> Counts:
    return first[0] + second[0], first[1] + second[1], first[2] + second[2]


def _percent(ratios: Any) -> str:
    return "/".join(f"{100 * ratio:g}%" for ratio in ratios)
