"""The gate of promotion: what a policy's scorecard must carry before the policy may become champion.

Knows scorecards as JSON (explained number by number in `agents/README.md`); nothing of who asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = ["GateCheck", "checks_of"]


class GateCheck(BaseModel):
    """One condition; `told` says in words what was seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str
    passed: bool
    told: str


def checks_of(scorecard: Mapping[str, Any], champion: Mapping[str, Any] | None = None) -> tuple[GateCheck, ...]:
    """All checks, failed ones too. champion: the scorecard of the present one; None where there is none.

    audited: what the policy drops was measured on trusted rows it had not seen (`promise.basis`). false_drop: the
    measured share of good rows dropped is within what its recipe allows. worth: by off-policy evaluation (`value`) its
    decisions are not worse than keeping every row, at 95% confidence; skipped where nothing was evaluated. no_worse: it
    ranks bad rows at least as well as the present champion does (average precision on trusted rows); skipped where the
    champion has no such number, and a policy without one does not take the place of one that has it.
    """
    promise = scorecard.get("promise") or {}
    checks = [_audited(promise), _false_drop(promise)]
    if scorecard.get("value") is not None:
        checks.append(_worth(scorecard["value"]))
    if champion is not None and champion.get("calibration_ap") is not None:
        checks.append(_no_worse(scorecard.get("calibration_ap"), float(champion["calibration_ap"])))
    return tuple(checks)


def _audited(promise: Mapping[str, Any]) -> GateCheck:
    basis = promise.get("basis")
    told = f"its promise is {basis or 'missing'}"
    if basis != "audited":
        told += "; only a policy measured on trusted rows may become champion"
    return GateCheck(check="audited", passed=basis == "audited", told=told)


def _false_drop(promise: Mapping[str, Any]) -> GateCheck:
    measured, allowed = promise.get("false_drop"), promise.get("max_false_drop")
    if measured is None or allowed is None:
        return GateCheck(check="false_drop", passed=False, told="no share of good rows dropped was measured")
    passed = float(measured) <= float(allowed)
    return GateCheck(
        check="false_drop",
        passed=passed,
        told=f"it drops {float(measured):.2%} of good rows, {'within' if passed else 'over'} {float(allowed):.2%}",
    )


def _worth(value: Mapping[str, Any]) -> GateCheck:
    gain, error = float(value["gain"]), float(value["error"])
    return GateCheck(
        check="worth",
        passed=gain - 1.645 * error >= 0,
        told=f"its decisions gain {gain:+.3f} ± {error:.3f} reward per row over keeping every row",
    )


def _no_worse(own: float | None, champions: float) -> GateCheck:
    if own is None:
        told = f"it has no average precision to compare with the champion's {champions:.3f}"
        return GateCheck(check="no_worse", passed=False, told=told)
    return GateCheck(
        check="no_worse",
        passed=own >= champions,
        told=f"average precision {own:.3f}, the champion's is {champions:.3f}",
    )
