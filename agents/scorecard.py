"""The scorecard: what a judge may claim, from rows its ranking has not seen. Every number is explained in the README.

Knows a finished student, its policy and promise; decides nothing.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from agents.determinism import id_uniform
from agents.gate import GateVerdict, average_precision
from agents.learned_policy import LearnedPolicy
from agents.noise import counted_noise
from agents.observation import STATE_VERSION
from agents.promise import Promise
from agents.reward import BREAK_EVEN, RIGHT, WRONG
from agents.student import Round, Student
from agents.types import Roles
from curator.recipe.policy import PolicySpec
from curator.verdict import KEEP, RELABEL

__all__ = ["review_order", "scorecard"]

_UNIFORM_SHARE: Final = 0.2


def scorecard(
    student: Student,
    policy: LearnedPolicy,
    truth_N: np.ndarray,
    roles: Roles,
    gate: GateVerdict | None,
    rounds: list[Round],
    promise: Promise,
    config: PolicySpec,
    seed: int,
) -> dict[str, Any]:
    """JSON-able: no infinity, no NaN."""
    badness = policy.badness(student.seen).numpy()
    trusted = np.concatenate([roles.learning, roles.calibration, roles.acceptance])
    bad = student.desk.rows.labels[trusted] != truth_N[trusted]
    review = review_order(student, policy, truth_N < 0, config.review_budget, seed)
    return {
        "state_version": STATE_VERSION,
        "rows_learned_from": len(student.desk.rows),
        "trusted": {name: len(part) for name, part in vars(roles).items()} | {"bad": int(bad.sum())},
        "prior": "audited_scorer" if len(student.at_T) else "self_corruption",
        "shipped": "learned" if gate is not None and gate.passed else "prior",
        "gate": None if gate is None else asdict(gate),
        "why": _why(gate, config),
        "rounds": [asdict(entry) for entry in rounds],
        **_noise(student, truth_N),
        "calibration_ap": _ap(badness, student, truth_N, roles.calibration),
        "promise": {name: None if _infinite(value) else value for name, value in asdict(promise).items()}
        | {
            "max_false_drop": config.max_false_drop,
            "relabel_fdr": config.relabel_fdr,
            "words": _words(promise, config),
        },
        "warnings": [] if promise.basis == "audited" else [_words(promise, config)],
        "rewards": {"right": RIGHT, "wrong": WRONG, "absent": 0.0, "break_even": BREAK_EVEN},
        "review": [student.desk.rows.ids[i].tobytes().hex() for i in review],
    }


def review_order(student: Student, policy: LearnedPolicy, open_N: np.ndarray, budget: int, seed: int) -> np.ndarray:
    """Positions of the rows whose truth is worth most to know, best first, int64[≤ budget]; a fifth drawn uniformly.

    Worth: the reward of acting on the truth, which is always +1, less the best expected reward without it. The uniform
    fifth keeps the audit honest about rows the policy is sure of. open_N: rows that may be asked about.
    """
    pi = policy.log_probs(student.seen).exp().numpy()
    keep = RIGHT * pi[:, KEEP] + WRONG * (1 - pi[:, KEEP])
    relabel = RIGHT * pi[:, RELABEL] + WRONG * (1 - pi[:, RELABEL])
    worth = np.where(open_N, RIGHT - np.maximum(np.maximum(keep, relabel), 0.0) + 1e-3 * (1 - pi[:, KEEP]), -np.inf)
    budget = min(budget, int(open_N.sum()))
    uniform = round(_UNIFORM_SHARE * budget)
    best = np.argsort(-worth, kind="stable")[: budget - uniform]
    draws = np.where(open_N, id_uniform(student.desk.rows.ids, seed, "review"), np.inf)
    draws[best] = np.inf
    return np.concatenate([best, np.argsort(draws, kind="stable")[:uniform]])


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


def _ap(badness: np.ndarray, student: Student, truth_N: np.ndarray, at: np.ndarray) -> float | None:
    bad = student.desk.rows.labels[at] != truth_N[at]
    return average_precision(badness[at], bad) if bad.any() else None


def _infinite(value: object) -> bool:
    return isinstance(value, float) and math.isinf(value)


def _why(gate: GateVerdict | None, config: PolicySpec) -> str:
    if gate is None:
        return "too few trusted rows to teach from: the self-corruption prior ranks"
    if config.rounds == 0:
        return "no round of improvement was asked for: the audited prior ranks"
    if gate.ap_prior is None:
        return f"none or all of the {gate.rows} acceptance rows are bad, so nothing can be compared: the prior ranks"
    compared = (
        f"average precision {gate.ap_learned:.3f} against the prior's {gate.ap_prior:.3f} on {gate.rows} acceptance "
        f"rows, ahead in {gate.better:.0%} of resamples"
    )
    if gate.passed:
        return f"the learned policy won: {compared}"
    return f"the learned policy did not prove better: {compared}; the prior ranks"


def _words(promise: Promise, config: PolicySpec) -> str:
    alpha = f"{config.max_false_drop:.1%}"
    if promise.basis == "audited":
        return f"at most {alpha} of good rows are dropped, on average over audits; from {promise.good_rows} good rows"
    if promise.basis == "simulated":
        return (
            f"no trusted row stands behind the policy, so it drops the worst-ranked {alpha} of rows at most and "
            f"relabels nothing; about {promise.missing_rows} trusted rows would let it find and mend more"
        )
    return (
        f"refused: {promise.good_rows} good calibration rows cannot promise {alpha}, so the policy drops and relabels "
        f"nothing. About {promise.missing_rows} more trusted rows are needed"
    )
