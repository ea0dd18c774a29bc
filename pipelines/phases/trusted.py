"""The trusted sample: a file of the user's, joined to the data by id, as one truth code a row.

Knows readers and the plan; nothing of who learns from it.

    classification   the label column holds the true label
    text             `keep`: true or false
    instruction      `keep`: true or false; or, without it, the exchange as it should read, whichever of its parts the
                     file has: in `revised_instruction`, `revised_input`, `revised_output`, in `revised_<column>` or in
                     the data's own column names

An exchange is compared column by column with the data's row of the same id: as text, without white space at either
end, a missing input being an empty one. If a column differs the data's row is bad, as with `keep: false`; if none does
it is good. Columns the file lacks count as unchanged. `keep`, where the file has it, is the truth and nothing is
compared. A revision says that the row is bad, not what to train on instead: it is not written into the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from curator.errors import InputError, TrustedError
from curator.readers import discover, plan_inputs, read
from curator.recipe import Recipe
from curator.sample_id import from_ids
from pipelines.plan import Plan
from pipelines.rows import blank_as_null, used_rows
from pipelines.side import bytes_matrix, found_in

__all__ = ["Trusted", "join_trusted"]

_NUM_SHOWN = 10


class Trusted(NamedTuple):
    """batch: (sample_id binary(16), truth int64) of every trusted row. warnings: what the user must hear of it."""

    batch: pa.RecordBatch
    warnings: tuple[str, ...]


def join_trusted(plan: Plan, path: str, ids_by_unit: Sequence[pa.Array], classes: list[Any]) -> Trusted:
    """Reads the file and joins it. ids_by_unit: sample ids of the data's used rows; classes: sorted label values.

    truth: the label's position in `classes`; without labels 1 = keep, 0 = drop. Raises TrustedError, InputError.
    """
    recipe = plan.recipe
    if recipe.columns.id is None:
        raise TrustedError("a trusted sample is joined by id, and the data has no id column; name one in columns.id")
    table = _table(path)
    if recipe.columns.id not in table.column_names:
        raise TrustedError(
            f"{path} has no column {recipe.columns.id!r} to join by; it has {', '.join(table.column_names)}"
        )
    user_ids = table[recipe.columns.id].combine_chunks()
    ids = _sample_ids(user_ids, path, recipe.columns.id)
    _refuse_repeats(ids, user_ids, path)
    _refuse_strangers(ids, user_ids, ids_by_unit, path, plan.id_type)
    warnings: tuple[str, ...] = ()
    if recipe.task == "classification":
        truth = _label_truth(table, recipe, path, classes)
    elif "keep" in table.column_names:
        truth = _keep_truth(table, path)
    else:
        truth, warnings = _revision_truth(table, plan, path, ids, ids_by_unit)
    schema = pa.schema([("sample_id", pa.binary(16)), ("truth", pa.int64())])
    return Trusted(pa.record_batch([ids.cast(pa.binary(16)), truth], schema=schema), warnings)


def _table(path: str) -> pa.Table:
    plan = plan_inputs(discover([path]), unit_rows=1 << 20)
    batches = [rows.batch for unit in plan.units for rows in read(unit, schema=plan.schema)]
    return pa.Table.from_batches(batches, plan.schema)


def _sample_ids(user_ids: pa.Array, path: str, column: str) -> pa.Array:
    try:
        return from_ids(user_ids)
    except InputError as error:
        raise TrustedError(f"{path}, column {column!r}: {error}") from error


def _refuse_repeats(ids: pa.Array, user_ids: pa.Array, path: str) -> None:
    """Two truths for one row cannot both be meant."""
    counted = pc.value_counts(ids)
    twice = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    if not len(twice):
        return
    shown = []
    for one in twice[:_NUM_SHOWN]:
        rows = np.flatnonzero(np.asarray(pc.equal(ids, one)))
        shown.append(f"{user_ids[int(rows[0])].as_py()!r} in rows {', '.join(map(str, rows[:_NUM_SHOWN]))}")
    raise TrustedError(
        f"{path}: {len(twice)} id(s) occur more than once, so it is unclear which truth holds: {'; '.join(shown)} "
        f"(rows counted from 0). Leave one row for each id"
    )


def _refuse_strangers(
    ids: pa.Array, user_ids: pa.Array, ids_by_unit: Sequence[pa.Array], path: str, id_type: pa.DataType | None
) -> None:
    known = np.zeros(len(ids), bool)
    for _, _, places in _met(ids, ids_by_unit):
        known[places] = True
    missing = user_ids.filter(pa.array(~known))
    if not len(missing):
        return
    shown = ", ".join(map(str, missing[:_NUM_SHOWN].to_pylist()))
    types = "" if user_ids.type == id_type else f"; its ids are {user_ids.type}, the data's are {id_type}"
    raise TrustedError(
        f"{path}: {len(missing)} of {len(ids)} ids match no row of the data (first: {shown}{types}); fix or remove them"
    )


def _met(ids: pa.Array, ids_by_unit: Sequence[pa.Array]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(unit, its rows that are trusted, their places in `ids`), both int64[m], of each unit that has one.

    Only the trusted ids are sorted to be looked up; the data's pass by unit by unit.
    """
    keys = bytes_matrix(ids, "S16").reshape(-1)
    order = np.argsort(keys)
    keys = keys[order]
    for unit, unit_ids in enumerate(ids_by_unit):
        rows, at = found_in(bytes_matrix(unit_ids, np.uint8), keys)
        if len(rows):
            yield unit, rows, order[at]


def _label_truth(table: pa.Table, recipe: Recipe, path: str, classes: list[Any]) -> pa.Array:
    column = str(recipe.columns.label)
    _need(table, column, path)
    _refuse_two_truths(table, column, path)
    if pt.is_nested(table[column].type):
        raise TrustedError(f"{path}: column {column!r} holds {table[column].type}; a true label is one value a row")
    values = blank_as_null(table[column].combine_chunks())
    _refuse_nulls(values, column, path)
    unknown = sorted({value for value in values.unique().to_pylist() if value not in classes}, key=str)
    if unknown:
        raise TrustedError(f"{path}: label(s) never seen in the data: {unknown[:10]}; the data has {classes[:20]}")
    lookup = {value: code for code, value in enumerate(classes)}
    return pa.array([lookup[value] for value in values.to_pylist()], pa.int64())


def _keep_truth(table: pa.Table, path: str) -> pa.Array:
    _refuse_two_truths(table, "keep", path)
    values = table["keep"].combine_chunks()
    _refuse_nulls(values, "keep", path)
    if not pt.is_boolean(values.type):
        raise TrustedError(f"{path}: column 'keep' holds {values.type}; it must be true or false")
    return values.cast(pa.int64())


def _revision_truth(
    table: pa.Table, plan: Plan, path: str, ids: pa.Array, ids_by_unit: Sequence[pa.Array]
) -> tuple[pa.Array, tuple[str, ...]]:
    """1 where the revision reads as the data's row does, 0 where any column differs."""
    revised = _revised_columns(table, plan.recipe, path)
    given = _given_rows(plan, ids, ids_by_unit, list(revised))
    bad = np.zeros(len(ids), bool)
    for name, column in revised.items():
        values = table[column].combine_chunks()
        if name != plan.recipe.columns.input:
            _refuse_nulls(values, column, path)
        bad |= np.asarray(pc.not_equal(_as_compared(values), _as_compared(given[name].combine_chunks())))
    warnings: tuple[str, ...] = ()
    if len(ids) and (bad.all() or not bad.any()):
        said = (
            "every trusted row differs from the data's row of the same id, so all of them count as bad"
            if bad.all()
            else "no trusted row differs from the data's row of the same id, so all of them count as good"
        )
        warnings = (
            f"{path}: {said} (compared: {', '.join(revised.values())}). The policy needs good rows as well as bad ones",
        )
    return pa.array((~bad).astype(np.int64)), warnings


def _revised_columns(table: pa.Table, recipe: Recipe, path: str) -> dict[str, str]:
    """The data's content columns and, for each that the file has, the column that holds it as it should read."""
    names = _revision_names(recipe)
    found = {}
    for name, candidates in names.items():
        column = next((one for one in candidates if one in table.column_names), None)
        if column is not None:
            found[name] = column
    for column in found.values():
        if not (pt.is_string(table[column].type) or pt.is_large_string(table[column].type)):
            raise TrustedError(f"{path}: column {column!r} holds {table[column].type}; a revision is text")
    if not found:
        _need(table, "keep", path, others=list(dict.fromkeys(one for ones in names.values() for one in ones)))
    return found


def _revision_names(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """The data's columns of an exchange and where each may stand as it should read: under the name of its role, or
    under the data's own name, which must not be the name of another role."""
    roles = ("instruction", "input", "output") if recipe.task == "instruction" else ()
    names: dict[str, tuple[str, ...]] = {}
    for role in roles:
        name = getattr(recipe.columns, role)
        if name is not None:
            own = () if name in roles and name != role else (f"revised_{name}",)
            names[name] = tuple(dict.fromkeys((f"revised_{role}", *own, name)))
    return names


def _given_rows(plan: Plan, ids: pa.Array, ids_by_unit: Sequence[pa.Array], columns: list[str]) -> pa.Table:
    """The data's columns of the trusted rows, in the order of `ids`; units without one are not read."""
    parts, order = [], [np.empty(0, np.int64)]
    for unit, rows, places in _met(ids, ids_by_unit):
        order.append(places)
        first = 0
        for _, batch in used_rows(plan, unit, columns=columns):
            low, high = np.searchsorted(rows, [first, first + batch.num_rows])
            parts.append(batch.take(pa.array(rows[low:high] - first)))
            first += batch.num_rows
    if not parts:
        return plan.schema.empty_table().select(columns)
    return pa.Table.from_batches(parts).take(pa.array(np.argsort(np.concatenate(order))))


def _as_compared(values: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(pc.fill_null(values.cast(pa.large_string()), ""))


def _need(table: pa.Table, column: str, path: str, others: Sequence[str] = ()) -> None:
    """others: columns that would do as well."""
    if column not in table.column_names:
        other = f", nor any of {', '.join(map(repr, others))} with a revision" if others else ""
        raise TrustedError(
            f"{path} has no column {column!r} with the truth{other}; it has {', '.join(table.column_names)}"
        )


def _refuse_nulls(values: pa.Array, column: str, path: str) -> None:
    if values.null_count:
        row = pc.index(pc.is_null(values), True).as_py()
        raise TrustedError(
            f"{path}: {values.null_count} null or empty cell(s) in {column!r}, the first in row {row} (counted from "
            f"0); a trusted row without its truth says nothing, so leave such rows out"
        )


def _refuse_two_truths(table: pa.Table, column: str, path: str) -> None:
    """A file that carries the given label and a differing `label_true` would teach the errors as truth."""
    if column == "label_true" or "label_true" not in table.column_names:
        return
    if not table[column].equals(table["label_true"].cast(table[column].type)):
        raise TrustedError(
            f"{path}: columns {column!r} and 'label_true' differ; the trusted label is read from {column!r}, "
            f"so put the truth there and leave 'label_true' out"
        )
