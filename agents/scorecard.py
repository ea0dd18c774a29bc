"""The scorecard: what a judge may claim, from rows judged without their truth. The README explains every number.

Knows a finished student, its policy and promise; decides nothing.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from agents.audit import Audit
from agents.gate import GateVerdict, average_precision
from agents.judge import acted
from agents.learned_policy import LearnedPolicy
from agents.noise import counted_noise
from agents.observation import STATE_VERSION
from agents.off_policy import audit_propensity, doubly_robust
from agents.promise import Promise
from agents.review import expected_finds, review_order
from agents.reward import BREAK_EVEN
from agents.student import Round, Student
from curator.recipe.policy import PolicySpec
from curator.worth import RIGHT, WRONG

__all__ = ["scorecard"]


def scorecard(
    student: Student,
    policy: LearnedPolicy,
    truth_N: np.ndarray,
    audit: Audit,
    gate: GateVerdict | None,
    rounds: list[Round],
    promise: Promise,
    config: PolicySpec,
    seed: int,
) -> dict[str, Any]:
    """JSON-able: no infinity, no NaN."""
    review = review_order(
        student,
        policy,
        truth_N < 0,
        config.review_budget,
        seed,
        relabel_from=promise.relabel_from,
        drop_above=_drop_above(promise, student.desk.rows.labels),
    )
    return {
        "state_version": STATE_VERSION,
        "rows_learned_from": len(student.desk.rows),
        "trusted": {"rows": len(audit.truth_T), "bad": int(audit.bad_T.sum())},
        "prior": "audited_scorer" if len(student.at_T) else "self_corruption",
        "shipped": "learned" if gate is not None and gate.passed else "prior",
        "gate": None if gate is None else asdict(gate),
        "why": _why(gate, len(student.at_T) > 0),
        "rounds": [asdict(entry) for entry in rounds],
        **_noise(student, truth_N),
        "calibration_ap": average_precision(audit.badness_T, audit.bad_T) if audit.bad_T.any() else None,
        "promise": {name: _finite(value) for name, value in asdict(promise).items()}
        | {
            "max_false_drop": config.max_false_drop,
            "confidence": config.confidence,
            "relabel_fdr": config.relabel_fdr,
            "words": _words(promise, config),
        },
        "warnings": [] if promise.basis == "audited" else [_words(promise, config)],
        "value": _value(student, policy, truth_N, audit, promise),
        "rewards": {"right": RIGHT, "wrong": WRONG, "absent": 0.0, "break_even": BREAK_EVEN},
        "review_finds": expected_finds(student, policy, truth_N < 0),
        "review": [student.desk.rows.ids[i].tobytes().hex() for i in review],
    }


def _value(
    student: Student, policy: LearnedPolicy, truth_N: np.ndarray, audit: Audit, promise: Promise
) -> dict[str, float] | None:
    """Reward per row of the decisions over keeping every row, doubly robust; None without a trusted row."""
    if not len(audit.truth_T):
        return None
    audited, given = truth_N >= 0, student.desk.rows.labels
    badness, relabel = (values.numpy() for values in policy.beliefs(student.seen))
    badness[audited], relabel[audited] = audit.badness_T, audit.relabel_T
    actions = acted(badness, relabel, _drop_above(promise, given), promise.relabel_from)
    expected = _gain(actions, 1 - badness, relabel)
    true = _gain(actions[audited], ~audit.bad_T, audit.proposal_T == audit.truth_T)
    value = doubly_robust(expected, audited, true, audit_propensity(given, audited))
    return {"gain": value.mean, "error": value.error}


def _drop_above(promise: Promise, given_N: np.ndarray) -> np.ndarray:
    """The threshold of each row, float64[N]."""
    return np.array(promise.drop_above)[given_N if len(promise.drop_above) > 1 else np.zeros_like(given_N)]


def _gain(actions: np.ndarray, given_right: np.ndarray, proposal_right: np.ndarray) -> np.ndarray:
    """Reward of each action over keeping the row, by the probabilities that its label and its proposal are right."""
    keep, relabel = (WRONG + (RIGHT - WRONG) * right for right in (given_right, proposal_right))
    return np.choose(actions, [np.zeros(len(actions)), -keep, relabel - keep])


def _noise(student: Student, truth_N: np.ndarray) -> dict[str, Any]:
    """Counted where a row is trusted, else the model's own guess under a name that says so; nothing without labels."""
    desk = student.desk
    if not desk.can_relabel:
        return {}
    counted = counted_noise(desk.rows.labels, truth_N)
    if counted is None:
        return {"noise_visible_to_model": desk.given.visible_noise()}
    return {
        "estimated_noise": counted.share,
        "estimated_noise_low": counted.low,
        "estimated_noise_high": counted.high,
        "estimated_noise_rows": counted.rows,
    }


def _finite(value: object) -> object:
    """Infinity is null; one threshold for all rows is a number, several are a list."""
    if isinstance(value, tuple):
        return _finite(value[0]) if len(value) == 1 else [_finite(one) for one in value]
    return None if isinstance(value, float) and math.isinf(value) else value


def _why(gate: GateVerdict | None, taught: bool) -> str:
    if not taught:
        return "too few trusted rows to teach from: the self-corruption prior ranks"
    if gate is None:
        return "no round of improvement was asked for: the audited prior ranks"
    if gate.ap_prior is None:
        return f"none or all of the {gate.rows} rows kept apart are bad, so nothing can be compared: the prior ranks"
    compared = (
        f"average precision {gate.ap_learned:.3f} against the prior's {gate.ap_prior:.3f} on {gate.rows} rows "
        f"kept apart, ahead in {gate.better:.0%} of resamples"
    )
    if gate.passed:
        return f"the learned policy won: {compared}"
    return f"the learned policy did not prove better: {compared}; the prior ranks"


def _words(promise: Promise, config: PolicySpec) -> str:
    alpha = f"{config.max_false_drop:.1%}"
    if promise.basis == "audited":
        where = "of the good rows of every label that is dropped at all" if config.per_class else "of good rows"
        how = f"in {config.confidence:.0%} of audits" if config.confidence else "on average over audits"
        return f"at most {alpha} {where} are dropped, {how}; from {promise.good_rows} good rows"
    if promise.basis == "simulated":
        return (
            f"no trusted row stands behind the policy, so it drops the worst-ranked {alpha} of rows at most and "
            f"relabels nothing; about {promise.missing_rows} trusted rows would let it find and mend more"
        )
    return (
        f"refused: {promise.good_rows} good trusted rows cannot promise {alpha}, so the policy drops and relabels "
        f"nothing. About {promise.missing_rows} more trusted rows are needed"
    )
