"""Curricula: how much of an epoch is easy, medium and hard.

Pure functions of the epoch number; know nothing of rows, shards or where ratios are used.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from curator.epochs.apportion import exact_shares
from curator.errors import RequestError

__all__ = ["AnyCurriculum", "Constant", "Curriculum", "Linear", "Mix", "Ratios", "Stage", "Staged", "curriculum_of"]


class Ratios(NamedTuple):
    """Shares of an epoch, each in [0, 1], together 1."""

    easy: float
    medium: float
    hard: float


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Mix(_Frozen):
    """Weights of the three difficulties; only their proportions count."""

    easy: float = Field(ge=0, allow_inf_nan=False)
    medium: float = Field(ge=0, allow_inf_nan=False)
    hard: float = Field(ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _not_empty(self) -> Mix:
        if self.easy + self.medium + self.hard <= 0:
            raise ValueError("easy, medium and hard are all zero; give at least one a weight")
        return self

    @cached_property
    def shares(self) -> tuple[Fraction, ...]:
        """Exact shares, sum 1."""
        return exact_shares((self.easy, self.medium, self.hard))


class Stage(Mix):
    """A mix that holds for epochs whose progress, epoch / num_epochs, is below `until`."""

    until: float = Field(gt=0, le=1)


class Staged(_Frozen):
    """Steps from easy to hard. Default: to 30% of the epochs 0.7/0.2/0.1, to 70% 0.2/0.5/0.3, then 0.1/0.3/0.6."""

    kind: Literal["staged"] = "staged"
    stages: tuple[Stage, ...] = (
        Stage(until=0.3, easy=0.7, medium=0.2, hard=0.1),
        Stage(until=0.7, easy=0.2, medium=0.5, hard=0.3),
        Stage(until=1.0, easy=0.1, medium=0.3, hard=0.6),
    )

    @model_validator(mode="after")
    def _ordered(self) -> Staged:
        untils = [stage.until for stage in self.stages]
        if not untils or untils[-1] != 1 or any(a >= b for a, b in itertools.pairwise(untils)):
            raise ValueError(f"stages must rise to until=1, got {untils}")
        return self

    def ratios(self, epoch: int, num_epochs: int) -> Ratios:
        """The mix of an epoch, 0-based. Raises RequestError outside [0, num_epochs)."""
        progress = _progress(epoch, num_epochs)
        stage = next(stage for stage in self.stages if progress < Fraction(repr(stage.until)))
        return _ratios(stage.shares)


class Constant(_Frozen):
    """One mix for every epoch; equal thirds unless said."""

    kind: Literal["constant"] = "constant"
    easy: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    medium: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    hard: float = Field(default=1.0, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _is_a_mix(self) -> Constant:
        Mix(easy=self.easy, medium=self.medium, hard=self.hard)
        return self

    def ratios(self, epoch: int, num_epochs: int) -> Ratios:
        """The mix, whatever the epoch. Raises RequestError outside [0, num_epochs)."""
        _progress(epoch, num_epochs)
        return _ratios(exact_shares((self.easy, self.medium, self.hard)))


class Linear(_Frozen):
    """A straight line from `start` (the first epoch) to `end` (the last)."""

    kind: Literal["linear"] = "linear"
    start: Mix = Mix(easy=0.7, medium=0.2, hard=0.1)
    end: Mix = Mix(easy=0.1, medium=0.3, hard=0.6)

    def ratios(self, epoch: int, num_epochs: int) -> Ratios:
        """The mix of an epoch, 0-based; a single epoch takes `start`. Raises RequestError outside [0, num_epochs)."""
        _progress(epoch, num_epochs)
        t = Fraction(epoch, num_epochs - 1) if num_epochs > 1 else Fraction(0)
        return _ratios(tuple(a + (b - a) * t for a, b in zip(self.start.shares, self.end.shares, strict=True)))


Curriculum = Annotated[Staged | Constant | Linear, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[Staged | Constant | Linear] = TypeAdapter(Curriculum)


AnyCurriculum: TypeAlias = str | dict[str, object] | Staged | Constant | Linear
"""A curriculum, its name, or its fields."""


def curriculum_of(value: AnyCurriculum) -> Staged | Constant | Linear:
    """A curriculum from its name, its parameters as a dict with `kind`, or itself. Raises RequestError."""
    if isinstance(value, (Staged, Constant, Linear)):
        return value
    try:
        return _ADAPTER.validate_python({"kind": value} if isinstance(value, str) else value)
    except ValueError as error:
        raise RequestError(f"no curriculum {value!r}: {error}. Known: staged, constant, linear.") from error


def _progress(epoch: int, num_epochs: int) -> Fraction:
    if not 0 <= epoch < num_epochs:
        raise RequestError(f"epoch {epoch} is outside 0 to {num_epochs - 1}; give a larger num_epochs")
    return Fraction(epoch, num_epochs)


def _ratios(shares: tuple[Fraction, ...]) -> Ratios:
    return Ratios(*(float(share) for share in shares))
