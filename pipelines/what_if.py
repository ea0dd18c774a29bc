"""What if a threshold were another? Counts and examples from the side files; no text is read, nothing is written.

Rules and duplicates are decided again, as a run decides them; a learned policy's verdicts stand as they were. A row
that only a rule had dropped and that would now be kept was never judged by it: it counts as kept, and as such is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from curator.duplicates.operators import SIGNATURE
from curator.errors import RecipeError
from curator.recipe import Operator, Recipe
from curator.verdict import DROP
from pipelines.copies import by_row
from pipelines.draft import Draft
from pipelines.job import Job
from pipelines.judging import truth_of
from pipelines.lineage import Lineage
from pipelines.phases.reasons import reason_names
from pipelines.phases.resolve import find_duplicates
from pipelines.rules import badness, readable, said, to_mask
from pipelines.side import bytes_matrix

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
    """The recipe with other operator parameters, by `kind.parameter`, or `kind#2.parameter` for the second of a kind.

    Raises RecipeError for an operator it lacks, a kind that stands more than once without its number, or a bad value.
    """
    wanted: dict[int, dict[str, Any]] = {}
    for name, value in settings.items():
        position, parameter = _addressed(recipe, name)
        _refuse(recipe.process[position], name, parameter)
        wanted.setdefault(position, {})[parameter] = value
    process = list(recipe.process)
    for position, values in wanted.items():
        operator = process[position]
        try:
            process[position] = _OPERATOR.validate_python({**operator.model_dump(), **values})
        except ValidationError as error:
            words = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
            raise RecipeError(words) from error
    return recipe.model_copy(update={"process": tuple(process)})


def _addressed(recipe: Recipe, name: str) -> tuple[int, str]:
    """The place in `process` and the parameter that a setting's name means."""
    address, _, parameter = name.partition(".")
    kind, _, number = address.partition("#")
    places = [place for place, op in enumerate(recipe.process) if op.kind == kind]
    if not places:
        has = ", ".join(dict.fromkeys(op.kind for op in recipe.process)) or "none"
        raise RecipeError(f"the run's recipe has no operator {kind!r}; it has {has}")
    if not number and len(places) == 1:
        return places[0], parameter
    if number.isdecimal() and 1 <= int(number) <= len(places):
        return places[int(number) - 1], parameter
    choices = [f"{kind}#{count}.{parameter} ({_told(recipe.process[at])})" for count, at in enumerate(places, 1)]
    raise RecipeError(f"{name!r} does not say which {kind} of the run's recipe it means; say {' or '.join(choices)}")


def _told(operator: Any) -> str:
    """What sets an operator apart from others of its kind."""
    own = operator.model_dump(mode="json", exclude_defaults=True)
    return ", ".join(f"{name} {value}" for name, value in own.items()) or "with its defaults"


def _refuse(operator: Any, name: str, parameter: str) -> None:
    if parameter not in type(operator).model_fields or parameter == "kind":
        has = ", ".join(field for field in type(operator).model_fields if field != "kind")
        raise RecipeError(f"{name!r} names no parameter of {operator.kind}; it has {has}")
    if operator.kind == "near_duplicates" and parameter in SIGNATURE:
        raise RecipeError(
            f"near_duplicates.{parameter} shapes the signatures, which what-if does not compute again; start a run"
        )
    limit = {"decontaminate": "max_grams", "word_list": "max_share"}.get(operator.kind, parameter)
    if operator.kind == "url_duplicates" and parameter == "column":
        limit = "keep"
    if parameter != limit:
        raise RecipeError(f"{name}: what-if reads no text again; start a run, or change {limit}")
    if parameter == "against":
        raise RecipeError(f"{name}: what-if compares a run's rows with what the run itself was given; start a run")


def what_if(root: str, run: str, settings: Mapping[str, Any]) -> WhatIf:
    """The run's counts under other parameters. Raises NotFoundError, RecipeError."""
    job = Job(root, run)
    recipe = changed(job.recipe, settings)
    copies = find_duplicates(Lineage.of(job), recipe)[0] if recipe.set_operators else None
    total = _Total()
    for unit in range(len(job.plan.units)):
        total.add(*_unit(job, recipe, unit, None if copies is None else copies[unit]))
    return total.result(reason_names(recipe))


def _unit(
    job: Job, recipe: Recipe, unit: int, copies: pa.RecordBatch | None
) -> tuple[pa.ChunkedArray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(ids, reason before, reason after, kept before and after, not judged); reasons are codes, -1 none."""
    names = reason_names(recipe)
    table = job.read_side(unit, "signals")
    verdicts = job.read_side(unit, "verdicts")
    before, given = verdicts["reason"].to_numpy(), verdicts["given"].to_numpy()
    truth = truth_of(job, bytes_matrix(table["sample_id"], np.uint8))
    by_rule = np.isin(before, [names.index(reason) for op in recipe.process for reason in op.reasons])

    claimed = None if copies is None else by_row(copies, table.num_rows).operator
    draft = Draft(names, said(recipe, table, readable(job, unit, table), claimed), badness(recipe, table))
    draft.stand(~by_rule, verdicts)
    draft.settle(truth, given, labelled=recipe.task == "classification")
    draft.mask(to_mask(recipe, table))

    kept = np.stack([verdicts["action"].to_numpy() != DROP, draft.action != DROP])
    not_judged = by_rule & kept[1] & (truth < 0) & (recipe.policy.kind == "learned")
    ids = table["id" if "id" in table.column_names else "sample_id"]
    return ids, before, draft.reason, kept, not_judged


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
