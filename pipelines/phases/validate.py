"""Before anything else: ids are unique, labels are there, the trusted sample fits. Nothing is scored or written yet.

Reads only the id and label columns. Knows readers and the plan, not where a run's files go.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.errors import RecipeError, TrustedError
from curator.readers import discover, plan_inputs, read
from curator.recipe import Recipe
from curator.sample_id import check_unique, from_ids
from pipelines.plan import Plan
from pipelines.rows import used_rows

__all__ = ["Validated", "validate"]


class Validated(NamedTuple):
    """What is now known of the rows: counts and classes (JSON), and the trusted sample joined by sample id."""

    outputs: dict[str, Any]
    trusted: pa.RecordBatch | None


def validate(plan: Plan) -> Validated:
    """Counts the rows used and joins the trusted sample. Raises RecipeError, InputError, TrustedError."""
    seen, rows, uniques = _Seen(), [], []
    for unit in range(len(plan.units)):
        ids, labels, count = _keys(plan, unit)
        rows.append(count)
        if ids is not None:
            seen.batches.append(ids)
        if labels is not None:
            uniques.append(labels)
    if seen.batches:
        check_unique(seen.batches, describe=lambda unit, row: _user_id(plan, unit, row))
    if sum(rows) == 0:
        raise RecipeError(f"no row to use: the inputs are empty or `where` {plan.recipe.where!r} matches none of them")
    classes = _classes(uniques, plan.recipe)
    trusted = None if plan.trusted is None else _joined(plan.recipe, plan.trusted, seen, classes)
    outputs = {
        "rows": sum(rows),
        "rows_by_unit": rows,
        "classes": classes,
        "trusted": trusted.num_rows if trusted else 0,
    }
    return Validated(outputs, trusted)


def _user_id(plan: Plan, unit: int, row: int) -> Any:
    """The user's own id of a row, counted among the unit's used rows."""
    column = str(plan.recipe.columns.id)
    for _, batch in used_rows(plan, unit, columns=[column]):
        if row < batch.num_rows:
            return batch.column(column)[row].as_py()
        row -= batch.num_rows
    raise IndexError(f"unit {unit} has no used row {row}")


class _Seen:
    """Sample ids of the set, 16 bytes a row, unit by unit."""

    def __init__(self) -> None:
        self.batches: list[pa.Array] = []

    def contain(self, ids: pa.Array) -> np.ndarray:
        return np.asarray(pc.is_in(ids, value_set=pa.chunked_array(self.batches)))


def _keys(plan: Plan, unit: int) -> tuple[pa.Array | None, pa.Array | None, int]:
    recipe = plan.recipe
    wanted = [
        name for name in (recipe.columns.id, recipe.columns.label if recipe.task == "classification" else None) if name
    ]
    ids, labels, rows = [], [], 0
    for _, batch in used_rows(plan, unit, columns=wanted):
        rows += batch.num_rows
        if recipe.columns.id:
            ids.append(from_ids(batch.column(recipe.columns.id)))
        if recipe.task == "classification":
            labels.append(batch.column(str(recipe.columns.label)).unique())
    return (pa.concat_arrays(ids) if ids else None), (pa.concat_arrays(labels).unique() if labels else None), rows


def _classes(uniques: list[pa.Array], recipe: Recipe) -> list[Any]:
    """The label values of the set, sorted; null is no class."""
    if recipe.task != "classification":
        return []
    values = pa.concat_arrays(uniques).unique().drop_null() if uniques else pa.array([])
    names = sorted(values.to_pylist())
    if len(names) < 2:
        raise RecipeError(
            f"label column {recipe.columns.label!r} has {len(names)} distinct value(s) {names}; two are needed"
        )
    return names


def _trusted_table(path: str) -> pa.Table:
    plan = plan_inputs(discover([path]), unit_rows=1 << 20)
    batches = [rows.batch for unit in plan.units for rows in read(unit, schema=plan.schema)]
    return pa.Table.from_batches(batches, plan.schema)


def _joined(recipe: Recipe, path: str, seen: _Seen, classes: list[Any]) -> pa.RecordBatch:
    """(sample_id binary(16), truth int64) of every trusted row."""
    if recipe.columns.id is None:
        raise TrustedError("a trusted sample is joined by id, and the data has no id column; name one in columns.id")
    table = _trusted_table(path)
    if recipe.columns.id not in table.column_names:
        raise TrustedError(
            f"{path} has no column {recipe.columns.id!r} to join by; it has {', '.join(table.column_names)}"
        )
    user_ids = table[recipe.columns.id].combine_chunks()
    ids = from_ids(user_ids)
    check_unique([ids])
    missing = user_ids.filter(pa.array(~seen.contain(ids)))
    if len(missing):
        shown = ", ".join(map(str, missing[:10].to_pylist()))
        raise TrustedError(
            f"{path}: {len(missing)} of {len(ids)} ids match no row of the data (first: {shown}); fix or remove them"
        )
    truth = _truth(table, recipe, path, classes)
    schema = pa.schema([("sample_id", pa.binary(16)), ("truth", truth.type)])
    return pa.record_batch([ids.cast(pa.binary(16)), truth], schema=schema)


def _truth(table: pa.Table, recipe: Recipe, path: str, classes: list[Any]) -> pa.Array:
    """Class codes (int64) for classification; 1 = keep, 0 = drop otherwise."""
    column = str(recipe.columns.label) if recipe.task == "classification" else "keep"
    if column not in table.column_names:
        raise TrustedError(f"{path} has no column {column!r} with the truth; it has {', '.join(table.column_names)}")
    _refuse_two_truths(table, column, path)
    values = table[column].combine_chunks()
    if values.null_count:
        raise TrustedError(
            f"{path}: {values.null_count} null(s) in {column!r}; a trusted row without its truth says nothing"
        )
    if recipe.task != "classification":
        if not pa.types.is_boolean(values.type):
            raise TrustedError(f"{path}: column 'keep' holds {values.type}; it must be true or false")
        return values.cast(pa.int64())
    unknown = sorted({value for value in values.unique().to_pylist() if value not in classes}, key=str)
    if unknown:
        raise TrustedError(f"{path}: label(s) never seen in the data: {unknown[:10]}; the data has {classes[:20]}")
    lookup = {value: code for code, value in enumerate(classes)}
    return pa.array([lookup[value] for value in values.to_pylist()], pa.int64())


def _refuse_two_truths(table: pa.Table, column: str, path: str) -> None:
    """A file that carries the given label and a differing `label_true` would teach the errors as truth."""
    if column == "label_true" or "label_true" not in table.column_names:
        return
    if not table[column].equals(table["label_true"].cast(table[column].type)):
        raise TrustedError(
            f"{path}: columns {column!r} and 'label_true' differ; the trusted label is read from {column!r}, "
            f"so put the truth there and leave 'label_true' out"
        )
