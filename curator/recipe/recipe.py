"""A recipe: what to do with data, never where. Frozen, typed, content-addressed.

Knows the operators' types, nothing of files, engines or learning.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from curator.digest import canonical_json, sha256_hex
from curator.duplicates.operators import By, ExactDuplicates, NearDuplicates, SemanticDuplicates, UrlDuplicates
from curator.epochs.curriculum import Curriculum, Staged
from curator.recipe.policy import PolicySpec
from curator.signals.operators import RowOperator
from curator.verdict import POLICY_REASONS

__all__ = ["Columns", "Encoders", "Operator", "Recipe", "SetOperator", "Task"]

Task = Literal["text", "classification", "instruction"]
SetOperator = ExactDuplicates | NearDuplicates | SemanticDuplicates | UrlDuplicates
Operator = Annotated[RowOperator | SetOperator, Field(discriminator="kind")]
Scalar = str | int | float | bool | None


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Columns(_Frozen):
    """The data's own names for the columns a task needs."""

    id: str | None = Field(
        default="auto",
        description="unique per row; `auto`: the column `id` if there is one; null: file content and row number",
    )
    text: str | None = None
    image: str | None = None
    label: str | None = None
    instruction: str | None = None
    input: str | None = None
    output: str | None = None


class Encoders(_Frozen):
    """Who turns content into vectors: `builtin`, or a sentence-transformers name or path (text)."""

    text: str = "builtin"
    image: str = "builtin"


class Recipe(_Frozen):
    """Everything that decides a run's verdicts, and nothing that does not."""

    task: Task = "text"
    columns: Columns = Columns()
    where: dict[str, Scalar | list[Scalar]] = Field(
        default_factory=dict,
        description="only rows equal to (or in) these values are used; dates and timestamps are ISO 8601 text",
    )
    encoder: Encoders = Encoders()
    process: tuple[Operator, ...] = Field(
        default=(), description="operators in order; the first that fires gives the reason"
    )
    policy: PolicySpec = PolicySpec()
    curriculum: Curriculum = Staged()
    seed: int = Field(default=0, ge=0, lt=2**63)
    unit_rows: int = Field(
        default=65_536,
        ge=64,
        description="rows a work unit aims at; part of the recipe so that shards do not depend on workers",
    )

    @field_validator("where", mode="before")
    @classmethod
    def _where(cls, wanted: Any) -> Any:
        """YAML reads an unquoted date as one; here it is its ISO text again, so that it can be digested."""
        if not isinstance(wanted, Mapping):
            return wanted
        return {
            name: [_iso(one) for one in value] if isinstance(value, list | tuple) else _iso(value)
            for name, value in wanted.items()
        }

    @field_validator("process", mode="before")
    @classmethod
    def _operators(cls, entries: Any) -> Any:
        """Accepts `name`, `{name: {parameters}}` and `{kind: name, parameters}`."""
        if not isinstance(entries, (list, tuple)):
            raise ValueError("process is a list of operators, each `name` or `name: {parameters}`")
        return tuple(_operator(entry) for entry in entries)

    @model_validator(mode="after")
    def _complete(self) -> Recipe:
        missing = [name for name in self.needed_columns if getattr(self.columns, name) is None]
        if missing:
            raise ValueError(
                f"task {self.task!r} needs columns.{', columns.'.join(missing)}; name the data's columns there"
            )
        return self

    @property
    def needed_columns(self) -> tuple[str, ...]:
        """Which of `columns` the task cannot do without."""
        if self.task == "text":
            return ("text",)
        if self.task == "instruction":
            return ("instruction", "output")
        return ("label",) if self.columns.image or self.columns.text else ("text", "label")

    @property
    def content_columns(self) -> tuple[str, ...]:
        """The data's names of the columns whose content is judged, in order."""
        names = self.columns
        chosen = {
            "text": (names.text,),
            "instruction": (names.instruction, names.input, names.output),
            "classification": (names.image or names.text,),
        }[self.task]
        return tuple(name for name in chosen if name is not None)

    @property
    def modality(self) -> Literal["text", "image"]:
        return "image" if self.task == "classification" and self.columns.image else "text"

    @property
    def needs_vectors(self) -> bool:
        """A learned policy judges by vectors, labelled rows are ordered by them, meanings compared; rules read signals
        alone."""
        return self.policy.kind == "learned" or self.task == "classification" or "meaning" in self.compared_by

    @property
    def encoder_name(self) -> str:
        """The encoder of the content judged."""
        return self.encoder.image if self.modality == "image" else self.encoder.text

    @property
    def row_operators(self) -> tuple[Any, ...]:
        """Operators that look at one row at a time."""
        return tuple(op for op in self.process if not isinstance(op, SetOperator))

    @property
    def set_operators(self) -> tuple[SetOperator, ...]:
        """Operators that need the whole set."""
        return tuple(op for op in self.process if isinstance(op, SetOperator))

    @property
    def compared_by(self) -> tuple[By, ...]:
        """What of rows the set operators compare, each once, in order."""
        return tuple(dict.fromkeys(op.by for op in self.set_operators))

    @property
    def url_column(self) -> str | None:
        """The data's column of addresses, where they are compared."""
        return next((op.column for op in self.set_operators if isinstance(op, UrlDuplicates)), None)

    @property
    def against(self) -> str | None:
        """The earlier run whose rows count as those of this one where duplicates are sought."""
        return next((op.against for op in self.set_operators if op.against), None)

    @property
    def signal_names(self) -> tuple[str, ...]:
        """Signals the row operators read, each once, in order."""
        return tuple(dict.fromkeys(name for op in self.row_operators for name in op.signals))

    @property
    def reasons(self) -> dict[str, str]:
        """Every reason a run may give and what it means: the operators' in the recipe's order, then the policy's."""
        operators = {reason: meaning for op in self.process for reason, meaning in op.reasons.items()}
        return operators | POLICY_REASONS

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: equal recipes, equal digests, whatever file they came from."""
        return sha256_hex(canonical_json(self.model_dump(mode="json")))

    @property
    def id(self) -> str:
        """The name it is kept under: `rcp_` and the first 32 digits of its digest."""
        return f"rcp_{self.digest[:32]}"


def _iso(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime.date) else value


def _operator(entry: Any) -> Any:
    if isinstance(entry, str):
        return {"kind": entry}
    if isinstance(entry, dict) and "kind" not in entry:
        if len(entry) != 1:
            raise ValueError(f"an operator is one name with its parameters, got the keys {sorted(entry)}")
        [(name, parameters)] = entry.items()
        if parameters is not None and not isinstance(parameters, dict):
            raise ValueError(f"operator {name!r} takes named parameters, got {parameters!r}")
        return {"kind": name, **(parameters or {})}
    return entry
