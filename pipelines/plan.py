"""The plan of a run: which files, which schema, which work units. A pure function of the request and the inputs.

Knows readers and recipes; nothing of engines, workers or where outputs go.
"""

from __future__ import annotations

import base64
import difflib
from functools import cached_property

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from curator.digest import content_id
from curator.errors import InputError, RecipeError
from curator.readers import WorkUnit, discover, scan
from curator.recipe import Recipe, parse
from curator.run import RunRequest

__all__ = ["PLAN_VERSION", "Plan", "make_plan"]

PLAN_VERSION = 1
_RESERVED = ("sample_id", "label_before", "difficulty")


class Plan(BaseModel):
    """Everything a worker needs to know before it opens a unit; saved beside the run's files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = PLAN_VERSION
    recipe: Recipe
    arrow_schema: str
    units: tuple[WorkUnit, ...]
    trusted: str | None = None
    dataset_version: str

    @cached_property
    def schema(self) -> pa.Schema:
        """The inputs' columns, one schema for all units."""
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.arrow_schema)))

    @property
    def id_type(self) -> pa.DataType | None:
        return self._type(self.recipe.columns.id)

    @property
    def label_type(self) -> pa.DataType | None:
        return self._type(self.recipe.columns.label) if self.recipe.task == "classification" else None

    def _type(self, column: str | None) -> pa.DataType | None:
        return None if column is None else self.schema.field(column).type


def make_plan(request: RunRequest) -> Plan:
    """Opens every input once. Raises InputError and RecipeError; writes nothing."""
    recipe = parse(request.recipe)
    infos = [scan(source, unit_rows=recipe.unit_rows) for source in discover(request.inputs)]
    schema = _one_schema(infos)
    recipe = _fitted(recipe, schema)
    units = [unit for info in infos for unit in info.units]
    return Plan(
        recipe=recipe,
        arrow_schema=base64.b64encode(schema.serialize().to_pybytes()).decode(),
        units=tuple(unit.model_copy(update={"index": index}) for index, unit in enumerate(units)),
        trusted=request.trusted,
        dataset_version=request.dataset_version or content_id("dv", [info.digest for info in infos]),
    )


def _one_schema(infos: list) -> pa.Schema:  # type: ignore[type-arg]
    first = infos[0].schema
    for info in infos[1:]:
        if not info.schema.equals(first):
            raise InputError(
                f"its columns differ from the first file's: {_difference(first, info.schema)}; "
                "all inputs of a run share one schema, so curate them apart or align them",
                file=info.source.uri,
            )
    return first


def _difference(first: pa.Schema, other: pa.Schema) -> str:
    ours, theirs = ({field.name: str(field.type) for field in schema} for schema in (first, other))
    names = [name for name in dict.fromkeys([*ours, *theirs]) if ours.get(name) != theirs.get(name)]
    return ", ".join(f"{name} {ours.get(name, 'absent')} / {theirs.get(name, 'absent')}" for name in names) or "order"


def _fitted(recipe: Recipe, schema: pa.Schema) -> Recipe:
    """The recipe with its columns checked against the data and `id: auto` decided."""
    if recipe.columns.id == "auto":
        found = "id" if "id" in schema.names else None
        recipe = recipe.model_copy(update={"columns": recipe.columns.model_copy(update={"id": found})})
    used = {f"columns.{role}": name for role, name in recipe.columns if name is not None}
    used |= {f"where.{name}": name for name in recipe.where}
    for place, name in used.items():
        if name not in schema.names:
            close = difflib.get_close_matches(name, schema.names, 1)
            hint = f", did you mean {close[0]!r}" if close else ""
            raise RecipeError(f"{place}: the data has no column {name!r}{hint}. It has: {', '.join(schema.names)}.")
    for name in _RESERVED:
        if name in schema.names:
            raise RecipeError(f"the data has a column {name!r}, a name Winnow writes itself; rename it and run again")
    _check_types(recipe, schema)
    return recipe


def _check_types(recipe: Recipe, schema: pa.Schema) -> None:
    wanted = pa.types.is_binary if recipe.modality == "image" else pa.types.is_string
    large = pa.types.is_large_binary if recipe.modality == "image" else pa.types.is_large_string
    for name in recipe.content_columns:
        kind = schema.field(name).type
        if not wanted(kind) and not large(kind):
            expected = "bytes of an image file" if recipe.modality == "image" else "text"
            raise RecipeError(f"column {name!r} holds {kind}, but the recipe needs {expected} there")
    if recipe.task == "classification":
        kind = schema.field(str(recipe.columns.label)).type
        if not (pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise RecipeError(f"label column {recipe.columns.label!r} holds {kind}; labels are integers, booleans or strings")
