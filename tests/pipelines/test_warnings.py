"""Warnings of a run that went well: a rule that sweeps, a wrong column, and what steps said."""

from __future__ import annotations

from typing import Any

import pytest

from curator.recipe import parse
from pipelines.warnings import warnings_of

RECIPE = parse(
    {
        "task": "text",
        "columns": {"text": "text"},
        "process": [{"language": {"keep": ["en"]}}, "gopher_quality", "gopher_quality", "exact_duplicates"],
    }
)
LANGUAGE = list(RECIPE.process[0].reasons)
GOPHER = list(RECIPE.process[1].reasons)


def warned(*units: dict[str, int], rows: int, kept: int = 5, **changes: Any) -> tuple[str, ...]:
    outputs: dict[str, Any] = {
        "validate": {"rows": rows, "warnings": []},
        "resolve": {"bridged": 0},
        "learn": {"scorecard": {}},
        "decide": {number: {"kept": kept, "reasons": reasons} for number, reasons in enumerate(units)},
    }
    return warnings_of(RECIPE, outputs | changes)


def test_a_rule_that_drops_nearly_everything_is_named_with_its_share() -> None:
    reason = LANGUAGE[0]
    [warning] = warned({reason: 450}, {reason: 500, GOPHER[0]: 20}, rows=1000)
    assert "rule language" in warning and "95.0%" in warning and "950 of 1,000" in warning and reason in warning
    assert warned({reason: 450}, {reason: 449}, rows=1000) == ()
    assert len(warned({reason: 900}, rows=1000)) == 1


def test_the_reasons_of_one_rule_count_together_and_once() -> None:
    [warning] = warned({GOPHER[0]: 500, GOPHER[1]: 450}, rows=1000)
    assert "rule gopher_quality" in warning and GOPHER[0] in warning and GOPHER[1] in warning


@pytest.mark.parametrize("reason", ["missing_content", "missing_label", "undecodable_image"])
def test_a_column_that_is_nearly_empty_is_asked_about(reason: str) -> None:
    [warning] = warned({reason: 95}, rows=100)
    assert "95.0%" in warning and "right column" in warning


def test_nothing_kept_comes_first_then_the_rule_then_what_steps_said() -> None:
    reason = LANGUAGE[0]
    told = warned(
        {reason: 100},
        rows=100,
        kept=0,
        validate={"rows": 100, "warnings": ["odd labels"]},
        learn={"scorecard": {"warnings": ["no trusted row"]}},
    )
    assert "not one of 100 rows" in told[0] and "rule language" in told[1]
    assert told[2:] == ("odd labels", "no trusted row")
