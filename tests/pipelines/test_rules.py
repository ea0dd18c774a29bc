"""What the rules say: operators of one kind add up, the first in the recipe's order gives the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.recipe import Recipe, SetOperator, parse
from curator.verdict import DROP
from pipelines.draft import Draft
from pipelines.phases.reasons import reason_names
from pipelines.rules import any_of, said

ROWS = 24
PARTS: list[Any] = [
    {"length": {"min_words": 40}},
    {"length": {"min_words": 20, "max_words": 70}},
    {"length": {"max_chars": 300}},
    {"gopher_quality": {"min_words": 30}},
    "gopher_quality",
    {"fineweb_quality": {"max_newline_per_word": 0.2}},
    "exact_duplicates",
    {"near_duplicates": {"threshold": 0.7}},
    {"near_duplicates": {"threshold": 0.9, "keep": "longest"}},
    {"preset": "gopher"},
    {"preset": "c4"},
]


def recipe_of(process: list[Any]) -> Recipe:
    return parse({"task": "text", "columns": {"text": "text"}, "process": process})


def signals_of(recipe: Recipe, seed: int) -> pa.Table:
    """Made-up signals of ROWS rows, around the thresholds, some unknown; two rows have no content."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {"present": [False, False] + [True] * (ROWS - 2)}
    for name in recipe.signal_names:
        scale = 100.0 if name.startswith("num_") or "words" in name or "chars" in name else 1.0
        values = rng.random(ROWS).astype(np.float32) * np.float32(scale)
        columns[f"signal.{name}"] = pa.array(values, mask=rng.random(ROWS) < 0.1)
    return pa.table(columns)


def claims_of(recipe: Recipe, seed: int) -> np.ndarray:
    """int16[ROWS]: some rows are claimed by some set operator."""
    places = [place for place, op in enumerate(recipe.process) if isinstance(op, SetOperator)]
    return np.random.default_rng(seed + 1).choice([-1, -1, *places], ROWS).astype(np.int16)


def slow(recipe: Recipe, table: pa.Table, claimed: np.ndarray) -> list[tuple[str | None, set[str]]]:
    """Row by row: the decisive reason and all reasons."""
    columns = {
        name.removeprefix("signal."): table[name].to_numpy(zero_copy_only=False).astype(np.float32)
        for name in table.column_names[1:]
    }
    told: list[tuple[str | None, set[str]]] = []
    for row in range(ROWS):
        reasons = [] if table["present"][row].as_py() else ["missing_content"]
        for place, op in enumerate(recipe.process):
            if isinstance(op, SetOperator):
                reasons += op.reasons if claimed[row] == place else []
            else:
                one = {name: values[row : row + 1] for name, values in columns.items()}
                reasons += [reason for reason, mask in op.fired(one).items() if mask[0]]
        told.append((reasons[0] if reasons else None, set(reasons)))
    return told


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=5), st.integers(0, 999))
def test_agrees_with_asking_row_by_row(process: list[Any], seed: int) -> None:
    recipe = recipe_of(process)
    table, claimed = signals_of(recipe, seed), claims_of(recipe, seed)
    names = reason_names(recipe)
    found = said(recipe, table, np.ones(ROWS, bool), claimed)
    draft = Draft(names, found, np.full(ROWS, np.nan, np.float32))
    for row, (decisive, reasons) in enumerate(slow(recipe, table, claimed)):
        assert (names[draft.reason[row]] if draft.reason[row] >= 0 else None) == decisive
        assert {item.reason for item in found if item.rows[row]} == reasons
        assert (draft.action[row] == DROP) == any_of(found)[row] == bool(reasons)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=3),
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=3),
    st.integers(0, 999),
)
def test_a_second_operator_of_a_kind_saves_no_row(first: list[Any], second: list[Any], seed: int) -> None:
    """Rows that fall to either of two recipes' row operators are those that fall to both on top of each other."""
    both = recipe_of(first + second)
    table = signals_of(both, seed)
    sure = np.ones(ROWS, bool)
    either = any_of(said(recipe_of(first), table, sure)) | any_of(said(recipe_of(second), table, sure))
    np.testing.assert_array_equal(any_of(said(both, table, sure)), either)


def test_without_rules_content_alone_counts() -> None:
    recipe = recipe_of([])
    table = signals_of(recipe, 0)
    assert np.flatnonzero(any_of(said(recipe, table, np.ones(ROWS, bool)))).tolist() == [0, 1]
    broken = np.arange(ROWS) != 5
    found = {item.reason: np.flatnonzero(item.rows).tolist() for item in said(recipe, table, broken)}
    assert found == {"missing_content": [0, 1], "undecodable_image": [5]}
