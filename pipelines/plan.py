"""The plan of a run: which files, which schema, which work units. A pure function of the request and the inputs.

Knows readers and recipes; nothing of engines, workers or where outputs go.
"""

from __future__ import annotations

import base64
import json
from functools import cached_property
from typing import Final, Literal

import pyarrow as pa
import pyarrow.types as pt
from pydantic import BaseModel, ConfigDict

from curator.digest import content_id
from curator.duplicates.operators import SIGNATURE, UrlDuplicates
from curator.errors import ConflictError, RecipeError
from curator.readers import IMAGE_STRUCT, InputPlan, WorkUnit, as_bytes, discover, plan_inputs
from curator.recipe import Recipe, fitted, parse, require_learner
from curator.run import RunRequest
from curator.signals.benchmarks import Decontaminate
from curator.signals.personal import PersonalData
from curator.signals.word_list import WordList

__all__ = ["Plan", "load_plan", "make_plan"]


class Plan(BaseModel):
    """Everything a worker needs to know before it opens a unit; saved beside the run's files.

    set_aside: columns of the inputs that an earlier run wrote; this one neither reads nor keeps them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[3] = 3
    recipe: Recipe
    arrow_schema: str
    units: tuple[WorkUnit, ...]
    trusted: str | None = None
    feedback: str | None = None
    dataset_version: str
    set_aside: tuple[str, ...] = ()

    @cached_property
    def schema(self) -> pa.Schema:
        """The inputs' columns as they are read, one schema for all units."""
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.arrow_schema)))

    @property
    def id_type(self) -> pa.DataType | None:
        return self._type(self.recipe.columns.id)

    @property
    def label_type(self) -> pa.DataType | None:
        return self._type(self.recipe.columns.label) if self.recipe.task == "classification" else None

    def _type(self, column: str | None) -> pa.DataType | None:
        return None if column is None else self.schema.field(column).type


def load_plan(data: bytes, run: str) -> Plan:
    """A saved plan. Raises ConflictError for one that this version of Winnow cannot follow."""
    found = json.loads(data).get("version")
    known = Plan.model_fields["version"].default
    if found != known:
        raise ConflictError(
            f"run {run} was planned by another version of Winnow (plan version {found!r}, this one follows {known}), "
            "so it can be neither gone on with nor looked into again here; use that version, or start a new run"
        )
    return Plan.model_validate_json(data)


def make_plan(request: RunRequest) -> Plan:
    """Opens every input once. Raises InputError and RecipeError; writes nothing."""
    recipe = parse(request.recipe)
    if request.feedback is not None:
        require_learner(recipe)
    inputs = plan_inputs(discover(request.inputs, within=request.within), unit_rows=recipe.unit_rows)
    if request.trusted is not None:
        discover([request.trusted], within=request.within)
    recipe = fitted(recipe, inputs.schema.names)
    if recipe.modality == "image":
        inputs = inputs._replace(schema=as_bytes(inputs.schema, str(recipe.columns.image)))
    _check_types(recipe, inputs)
    return Plan(
        recipe=recipe,
        arrow_schema=base64.b64encode(inputs.schema.serialize().to_pybytes()).decode(),
        units=inputs.units,
        trusted=request.trusted,
        feedback=request.feedback,
        set_aside=inputs.set_aside,
        dataset_version=request.dataset_version or content_id("dv", [info.digest for info in inputs.sources]),
    )


def _check_types(recipe: Recipe, inputs: InputPlan) -> None:
    image = recipe.modality == "image"
    _check_operators(recipe)
    for name in recipe.content_columns:
        kind = inputs.schema.field(name).type
        tests = (pt.is_binary, pt.is_large_binary) if image else (pt.is_string, pt.is_large_string)
        if not any(test(kind) for test in tests):
            needed = f"the bytes of image files there, alone or as {IMAGE_STRUCT}" if image else "text there"
            raise RecipeError(f"column {name!r} holds {kind} in {_file(inputs, name)}, but the recipe needs {needed}")
    if recipe.url_column is not None:
        kind = inputs.schema.field(recipe.url_column).type
        if not (pt.is_string(kind) or pt.is_large_string(kind)):
            raise RecipeError(
                f"url_duplicates.column {recipe.url_column!r} holds {kind} in {_file(inputs, recipe.url_column)}; name "
                "a column of texts with the rows' addresses"
            )
    if recipe.task == "classification":
        _check_label_type(str(recipe.columns.label), inputs)


def _file(inputs: InputPlan, name: str) -> str:
    """The file a column's type comes from: the first with the type of the whole input, else the first that has it."""
    kinds = {info.source.uri: info.schema.field(name).type for info in inputs.sources if name in info.schema.names}
    return next((uri for uri, kind in kinds.items() if kind == inputs.schema.field(name).type), next(iter(kinds)))


_OF_ANY_CONTENT: Final = ("exact_duplicates", "url_duplicates", "semantic_duplicates")
"""Operators that ask of content no more than that it is there."""


def _check_operators(recipe: Recipe) -> None:
    """Operators that read text get text, and those that share signatures ask for the same ones."""
    reading = dict.fromkeys(op.kind for op in recipe.process if op.kind not in _OF_ANY_CONTENT)
    if recipe.modality == "image" and reading:
        raise RecipeError(
            f"columns.image {recipe.columns.image!r} holds images, and process has operators that read text: "
            f"{', '.join(reading)}; leave them out, images take {', '.join(_OF_ANY_CONTENT)} alone"
        )
    if recipe.task == "classification" and any(isinstance(op, PersonalData) and op.mask for op in recipe.process):
        raise RecipeError(
            "process: personal_data masks texts of the tasks text and instruction; where rows have labels say `mask: "
            "[]` and limits such as max_emails, so that rows are dropped"
        )
    _check_benchmarks(recipe)
    near = [op for op in recipe.set_operators if op.kind == "near_duplicates"]
    for name in SIGNATURE:
        values = list(dict.fromkeys(getattr(op, name) for op in near))
        if len(values) > 1:
            raise RecipeError(
                f"process: near_duplicates stands here with {name} {' and '.join(map(str, values))}; a run "
                f"computes one signature of each text, so give all of them the same {', '.join(SIGNATURE)}"
            )
    columns = list(dict.fromkeys(op.column for op in recipe.set_operators if isinstance(op, UrlDuplicates)))
    if len(columns) > 1:
        raise RecipeError(
            f"process: url_duplicates stands here with the columns {' and '.join(columns)}; a run compares the "
            "addresses of one, so name one column in all of them"
        )
    earlier = list(dict.fromkeys(op.against for op in recipe.set_operators if op.against))
    if len(earlier) > 1:
        raise RecipeError(
            f"process: duplicates are sought against {' and '.join(earlier)}; a run goes on from one, which may go on "
            "from others, so name one run in every `against`"
        )
    if any(op.keep == "best" for op in recipe.set_operators) and not recipe.row_operators:
        raise RecipeError(
            "process: duplicates are to keep the best row, but no rule says which is better; add rules such as "
            "`preset: gopher`, or keep the first or the longest"
        )


def _check_benchmarks(recipe: Recipe) -> None:
    """One set of benchmarks and one list of words, that can be read."""
    wanted = {(op.files, op.column, op.ngram) for op in recipe.process if isinstance(op, Decontaminate)}
    if len(wanted) > 1:
        raise RecipeError("process: decontaminate stands here with several sets of files; name all files in one")
    if wanted:
        from curator.signals.text.benchmarks import load_benchmarks  # numba: only where it is asked for

        load_benchmarks(*wanted.pop())
    lists = {(op.words, op.files) for op in recipe.process if isinstance(op, WordList)}
    if len(lists) > 1:
        raise RecipeError("process: word_list stands here with several lists; put all words in one")
    if lists:
        from curator.signals.text.word_list import load_words  # numba: only where it is asked for

        load_words(*lists.pop())


def _check_label_type(name: str, inputs: InputPlan) -> None:
    kind = inputs.schema.field(name).type
    if any(test(kind) for test in (pt.is_integer, pt.is_boolean, pt.is_string, pt.is_large_string)):
        return
    if pt.is_floating(kind):
        advice = "cast it to integers (pandas: astype('Int64'); a gap stays a gap, not a NaN) or to strings"
    elif pt.is_nested(kind):
        advice = "give every row one label, in a column of its own"
    elif pt.is_null(kind):
        advice = "no row has a label; name the column of the classes in columns.label"
    else:
        advice = "cast it to strings"
    raise RecipeError(
        f"label column {name!r} holds {kind} in {_file(inputs, name)}; "
        f"labels are integers, booleans or strings: {advice}"
    )
