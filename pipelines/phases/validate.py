"""Before anything else: ids are unique, labels make classes, the trusted sample fits. Nothing is scored or written yet.

Reads only the id and label columns, and of the trusted rows what their truth is compared with. Knows readers and the
plan, not where a run's files go.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.errors import InputError, RecipeError
from curator.recipe import Recipe
from curator.sample_id import check_unique, from_ids
from pipelines.phases.trusted import join_trusted
from pipelines.plan import Plan
from pipelines.rows import label_values, used_rows

__all__ = ["Validated", "validate"]

FEW_ROWS: Final = 10
"""Below this many labelled rows, a label of its own in every row may be chance; from here on it is no label."""


class Validated(NamedTuple):
    """What is now known of the rows: counts, classes, warnings (JSON), and the trusted sample joined by sample id."""

    outputs: dict[str, Any]
    trusted: pa.RecordBatch | None


class _Keys(NamedTuple):
    """A unit's sample ids (None without an id column), its distinct labels, its rows and how many have a label."""

    ids: pa.Array | None
    labels: pa.Array | None
    rows: int
    labelled: int


def validate(plan: Plan) -> Validated:
    """Counts the rows used and joins the trusted sample. Raises RecipeError, InputError, TrustedError."""
    units = [_keys(plan, unit) for unit in range(len(plan.units))]
    ids_by_unit = [keys.ids for keys in units if keys.ids is not None]
    if ids_by_unit:
        check_unique(ids_by_unit, describe=lambda unit, row: _place(plan, unit, row))
    rows = sum(keys.rows for keys in units)
    if rows == 0:
        raise RecipeError(f"no row to use: the inputs are empty or `where` {plan.recipe.where!r} matches none of them")
    classes, warnings = _classes(units, plan.recipe, rows)
    trusted = None if plan.trusted is None else join_trusted(plan, plan.trusted, ids_by_unit, classes)
    outputs = {
        "rows": rows,
        "rows_by_unit": [keys.rows for keys in units],
        "classes": classes,
        "trusted": trusted.batch.num_rows if trusted else 0,
        "warnings": [*_set_aside(plan), *warnings, *(trusted.warnings if trusted else ())],
    }
    return Validated(outputs, trusted.batch if trusted else None)


def _set_aside(plan: Plan) -> list[str]:
    if not plan.set_aside:
        return []
    return [f"the input was written by Winnow; set aside, since this run writes its own: {', '.join(plan.set_aside)}"]


def _place(plan: Plan, unit: int, row: int) -> str:
    """The user's own id of a row, counted among the unit's used rows, and where it lies."""
    column = str(plan.recipe.columns.id)
    for numbers, batch in used_rows(plan, unit, columns=[column]):
        if row < batch.num_rows:
            return f"{batch.column(column)[row].as_py()} (row {numbers[row]} of {plan.units[unit].source.uri})"
        row -= batch.num_rows
    raise IndexError(f"unit {unit} has no used row {row}")


def _keys(plan: Plan, unit: int) -> _Keys:
    recipe = plan.recipe
    labelled = recipe.task == "classification"
    wanted = [name for name in (recipe.columns.id, recipe.columns.label if labelled else None) if name]
    ids, labels, rows, with_label = [], [], 0, 0
    for numbers, batch in used_rows(plan, unit, columns=wanted):
        rows += batch.num_rows
        if recipe.columns.id:
            ids.append(_named(plan, unit, numbers, batch.column(recipe.columns.id)))
        if labelled:
            values = label_values(batch, recipe)
            with_label += len(values) - values.null_count
            labels.append(values.unique())
    return _Keys(
        pa.concat_arrays(ids) if ids else pa.array([], pa.binary(16)) if recipe.columns.id else None,
        pa.concat_arrays(labels).unique() if labels else None,
        rows,
        with_label,
    )


def _named(plan: Plan, unit: int, numbers: np.ndarray, ids: pa.Array) -> pa.Array:
    """Sample ids of user ids. numbers: the rows' numbers in the file, for errors."""
    place: dict[str, Any] = {"file": plan.units[unit].source.uri, "column": plan.recipe.columns.id}
    if ids.null_count:
        row = int(numbers[pc.index(pc.is_null(ids), True).as_py()])
        raise InputError("the id is null, so the row has no name; give every row an id", row=row, **place)
    try:
        return from_ids(ids)
    except InputError as error:
        raise InputError(str(error), **place) from error


def _classes(units: list[_Keys], recipe: Recipe, rows: int) -> tuple[list[Any], list[str]]:
    """The label values of the set, sorted, and what is odd about them; null or empty is no class."""
    if recipe.task != "classification":
        return [], []
    uniques = [keys.labels for keys in units if keys.labels is not None]
    names = sorted(pa.concat_arrays(uniques).unique().drop_null().to_pylist())
    labelled = sum(keys.labelled for keys in units)
    place = f"label column {recipe.columns.label!r}"
    if len(names) < 2:
        found = f"1 distinct value, {names[0]!r}," if names else "no label at all, only null or empty cells,"
        raise RecipeError(
            f"{place} has {found} in {rows:,} row(s); a wrong label can only be told where there are two classes or "
            f"more. Name the column of the classes in columns.label, let `where` pass more rows, or use task text"
        )
    if len(names) == labelled >= FEW_ROWS:
        raise RecipeError(
            f"{place} holds another value in every one of {labelled:,} rows ({names[0]!r}, {names[1]!r}, …), so there "
            f"is no class to learn; it looks like an id or a text. Name the column of the classes in columns.label"
        )
    if 2 * len(names) > labelled >= FEW_ROWS:
        return names, [
            f"{place} holds {len(names):,} values in {labelled:,} rows, fewer than two rows a class: little can be "
            f"learned of any. Is it the column of the classes?"
        ]
    return names, []
