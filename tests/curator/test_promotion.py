"""What a scorecard must carry to become champion."""

from __future__ import annotations

from typing import Any

import pytest

from curator.promotion import checks_of


def card(basis: str = "audited", false_drop: float | None = 0.01, ap: float | None = 0.8) -> dict[str, Any]:
    return {
        "promise": {"basis": basis, "false_drop": false_drop, "max_false_drop": 0.05},
        "calibration_ap": ap,
    }


def failed(scorecard: dict[str, Any], champion: dict[str, Any] | None = None) -> list[str]:
    return [check.check for check in checks_of(scorecard, champion) if not check.passed]


def test_an_audited_policy_within_its_promise_passes() -> None:
    assert failed(card()) == []
    assert failed(card(false_drop=0.05)) == []


@pytest.mark.parametrize(
    ("scorecard", "checks"),
    [
        ({}, ["audited", "false_drop"]),
        (card("simulated"), ["audited"]),
        (card("refused", None), ["audited", "false_drop"]),
        (card(false_drop=0.051), ["false_drop"]),
    ],
)
def test_what_was_not_measured_on_trusted_rows_fails(scorecard: dict[str, Any], checks: list[str]) -> None:
    assert failed(scorecard) == checks


@pytest.mark.parametrize(
    ("own", "champions", "checks"),
    [(0.8, 0.8, []), (0.79, 0.8, ["no_worse"]), (None, 0.8, ["no_worse"]), (None, None, []), (0.1, None, [])],
)
def test_nobody_worse_takes_the_champions_place(own: float | None, champions: float | None, checks: list[str]) -> None:
    assert failed(card(ap=own), card(ap=champions)) == checks


@pytest.mark.parametrize(
    ("gain", "error", "checks"), [(0.2, 0.1, []), (0.0, 0.0, []), (0.1, 0.1, ["worth"]), (-0.1, 0.01, ["worth"])]
)
def test_a_policy_that_may_do_harm_is_held_back(gain: float, error: float, checks: list[str]) -> None:
    assert failed(card() | {"value": {"gain": gain, "error": error}}) == checks
    assert failed(card() | {"value": None}) == []


def test_every_check_says_what_it_saw() -> None:
    told = " ".join(check.told for check in checks_of(card(false_drop=0.2, ap=0.5), card()))
    assert "audited" in told and "20.00%" in told and "0.500" in told and "0.800" in told
