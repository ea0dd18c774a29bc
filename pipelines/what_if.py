"""What if a threshold were another? Counts and examples from the side files; no text is read, nothing is written.

Rules and duplicates are decided again; the policy's verdicts stand as they were. A row that only a rule had dropped
and that would now be kept was never judged: it counts as kept, and as such is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from curator.errors import RecipeError
from curator.recipe import Operator, Recipe
from curator.verdict import DROP
from pipelines.job import Job
from pipelines.phases.reasons import reason_names
from pipelines.phases.resolve import find_duplicates, read_edges
from pipelines.side import rule_masks

__all__ = ["WhatIf", "changed", "what_if"]

NUM_EXAMPLES = 3
ExampleId = str | int | float
_OPERATOR: TypeAdapter[Any] = TypeAdapter(Operator)


class WhatIf(BaseModel):
    """Rows under other thresholds. `examples`: up to three rows for each kind of change, by the data's own ids; by
    sample id in hex where the recipe names no id column."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    kept_before: int
    kept: int
    newly_kept: int
    newly_dropped: int
    not_judged: int
    reasons_before: dict[str, int]
    reasons: dict[str, int]
    examples: dict[str, list[ExampleId]]


def changed(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with other operator parameters. Raises RecipeError for an operator it lacks or a bad value."""
    kinds = [op.kind for op in recipe.process]
    process = list(recipe.process)
    for name, value in settings.items():
        kind, _, parameter = name.partition(".")
        if kind not in kinds:
            raise RecipeError(f"the run's recipe has no operator {kind!r}; it has {', '.join(kinds) or 'none'}")
        position = kinds.index(kind)
        _refuse_signature_change(process[position], parameter)
        try:
            process[position] = _OPERATOR.validate_python({**process[position].model_dump(), parameter: value})
        except ValidationError as error:
            raise RecipeError(f"{name}: " + "; ".join(item["msg"] for item in error.errors())) from error
    return recipe.model_copy(update={"process": tuple(process)})


def _refuse_signature_change(operator: Any, parameter: str) -> None:
    if operator.kind == "near_duplicates" and parameter in {"num_perm", "bands", "ngram"}:
        raise RecipeError(
            f"near_duplicates.{parameter} shapes the signatures, which what-if does not compute again; start a run"
        )


def what_if(root: str, run: str, settings: Mapping[str, Any]) -> WhatIf:
    """The run's counts under other parameters. Raises NotFoundError, RecipeError."""
    job = Job(root, run)
    recipe = changed(job.recipe, settings)
    starts = _starts(job)
    duplicates = find_duplicates(job, starts, read_edges(job), recipe) if recipe.set_operators else None
    total = _Total()
    for unit in range(len(job.plan.units)):
        total.add(*_unit(job, recipe, unit, starts, duplicates))
    return total.result(reason_names(recipe))


def _starts(job: Job) -> np.ndarray:
    rows = [job.read_side(unit, "signals", ["sample_id"]).num_rows for unit in range(len(job.plan.units))]
    return np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)


def _unit(
    job: Job, recipe: Recipe, unit: int, starts: np.ndarray, duplicates: pa.RecordBatch | None
) -> tuple[pa.ChunkedArray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(ids, reason before, reason after, kept before and after, not judged); reasons are codes, -1 none."""
    names = reason_names(recipe)
    table = job.read_side(unit, "signals")
    verdicts = job.read_side(unit, "verdicts", ["action", "reason"])
    action, before = verdicts["action"].to_numpy(), verdicts["reason"].to_numpy()
    by_rule = np.isin(before, [names.index(reason) for op in recipe.process for reason in op.reasons])
    after = np.where(by_rule, -1, before).astype(np.int16)
    settled = np.isin(before, [names.index(name) for name in ("missing_content", "trusted_keep", "trusted_drop")])
    for reason, mask in reversed(_fired(recipe, table, unit, starts, duplicates)):
        after[mask & ~settled] = names.index(reason)
    ruled_now = np.isin(after, [names.index(reason) for op in recipe.process for reason in op.reasons])
    kept_after = np.where(ruled_now, False, np.where(by_rule, True, action != DROP))
    ids = table["id" if "id" in table.column_names else "sample_id"]
    return ids, before, after, np.stack([action != DROP, kept_after]), by_rule & kept_after


def _fired(
    recipe: Recipe, table: pa.Table, unit: int, starts: np.ndarray, duplicates: pa.RecordBatch | None
) -> list[tuple[str, np.ndarray]]:
    masks = rule_masks(recipe, table)
    fired: list[tuple[str, np.ndarray]] = []
    for position, op in enumerate(recipe.process):
        if position in masks:
            fired += masks[position].items()
        elif duplicates is not None:
            mask = np.zeros(table.num_rows, bool)
            rows = duplicates.column("row").to_numpy()[duplicates.column("operator").to_numpy() == position]
            mask[rows[(rows >= starts[unit]) & (rows < starts[unit + 1])] - starts[unit]] = True
            fired.append((next(iter(op.reasons)), mask))
    return fired


def _example(value: Any) -> ExampleId:
    """An id as people know it: text and numbers as they are, bytes in hex, anything else as its text."""
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, str | int | float) else str(value)


class _Total:
    """Counts over units."""

    def __init__(self) -> None:
        self.rows = self.not_judged = 0
        self.kept = [0, 0]
        self.moved = {"newly_kept": 0, "newly_dropped": 0}
        self.reasons: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
        self.examples: dict[str, list[ExampleId]] = {"newly_kept": [], "newly_dropped": []}

    def add(
        self, ids: pa.ChunkedArray, before: np.ndarray, after: np.ndarray, kept: np.ndarray, not_judged: np.ndarray
    ) -> None:
        self.rows += len(ids)
        self.not_judged += int(not_judged.sum())
        self.kept = [self.kept[0] + int(kept[0].sum()), self.kept[1] + int(kept[1].sum())]
        for counter, codes in zip(self.reasons, (before, after), strict=True):
            counter.update(codes[codes >= 0].tolist())
        for name, mask in (("newly_kept", kept[1] & ~kept[0]), ("newly_dropped", kept[0] & ~kept[1])):
            self.moved[name] += int(mask.sum())
            self.examples[name] += [_example(ids[int(row)].as_py()) for row in np.flatnonzero(mask)[:NUM_EXAMPLES]]

    def result(self, names: tuple[str, ...]) -> WhatIf:
        named = [{names[code]: count for code, count in sorted(counter.items())} for counter in self.reasons]
        return WhatIf(
            rows=self.rows,
            kept_before=self.kept[0],
            kept=self.kept[1],
            **self.moved,
            not_judged=self.not_judged,
            reasons_before=named[0],
            reasons=named[1],
            examples={name: ids[:NUM_EXAMPLES] for name, ids in self.examples.items()},
        )
