"""Learn: the policy, fitted once, in one process, on a bounded sample chosen by sample id; workers only apply it.

Knows side files and the learner; nothing of how a verdict is written down.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from agents.types import Rows
from curator.recipe import Recipe
from curator.verdict import DROP
from pipelines.job import Job
from pipelines.judging import load_rows, truth_of

__all__ = ["POLICY_ROWS", "kept_mask", "learn", "sample_mask"]

POLICY_ROWS = 50_000


def learn(job: Job, outputs: dict[str, Any]) -> dict[str, Any]:
    """Fits and saves the policy under judge/. Returns {policy, judge: whether one was fitted, scorecard}.

    A rules policy has nothing to fit. Where too little is left to learn from, nothing is fitted either: the rules and
    the trusted truths decide, as under a rules policy, and the scorecard warns.
    """
    if job.recipe.policy.kind == "rules":
        return _rules(job, {"kind": "rules"})
    from agents.learner import learn as learn_policy  # torch: only where something is learned

    found = _learnable(job, outputs)
    too_little = _too_little(found, outputs["validate"]["rows"], job.recipe)
    if too_little is not None:
        return _rules(job, {"kind": "rules", "why": too_little, "warnings": [too_little]})
    judge = learn_policy(
        found.rows,
        found.truth,
        classes=len(outputs["validate"]["classes"]) or 2,
        task="classification" if job.recipe.task == "classification" else "text",
        config=job.recipe.policy,
        seed=job.recipe.seed,
    )
    with job.publish("judge") as folder:
        judge.save(folder)
    scorecard = {**judge.scorecard, "warnings": [*judge.scorecard["warnings"], *_left_out(found)]}
    job.store.write_bytes(job.name("judge", "report.json"), json.dumps(scorecard, indent=1, sort_keys=True).encode())
    return {"policy": judge.version, "judge": True, "scorecard": scorecard}


def _rules(job: Job, scorecard: dict[str, Any]) -> dict[str, Any]:
    return {"policy": f"pol_rules_{job.recipe.digest[:16]}", "judge": False, "scorecard": scorecard}


class _Learnable(NamedTuple):
    """rows: at most POLICY_ROWS, with truth int64[n], -1 = untrusted; of `usable` rows with content and label that no
    rule or duplicate drops, `trusted` of them trusted."""

    rows: Rows
    truth: np.ndarray
    usable: int
    trusted: int


def _too_little(found: _Learnable, num_rows: int, recipe: Recipe) -> str | None:
    """Why nothing can be learned, and what to do; None where something can."""
    from agents.learner import MIN_ROWS

    labelled = recipe.task == "classification"
    content = "have content and a label" if labelled else "have content"
    left = f"{found.usable:,} of {num_rows:,} rows {'left after the rules' if recipe.process else content}"
    if found.usable < MIN_ROWS:
        problem = f"{left}; learning needs at least {MIN_ROWS}"
    elif labelled and len(np.unique(found.rows.labels[found.rows.labels >= 0])) < 2:
        problem = f"{left}, all of one label; learning needs two labels"
    else:
        return None
    advice = "relax the process rules" if recipe.process else "give more rows"
    return f"{problem}, so no policy was learned and the rules alone decided: {advice}, or use policy kind rules"


def _left_out(found: _Learnable) -> list[str]:
    taught = int((found.truth >= 0).sum())
    if taught == found.trusted:
        return []
    return [
        f"{taught:,} of {found.trusted:,} trusted rows taught the policy, which learns from {POLICY_ROWS:,} rows at "
        f"most; the others follow their truth all the same"
    ]


def _learnable(job: Job, outputs: dict[str, Any]) -> _Learnable:
    """Trusted rows first, then the lowest sample ids, up to POLICY_ROWS, among rows no rule or duplicate drops."""
    parts: list[tuple[Rows, np.ndarray]] = []
    usable = trusted = 0
    for unit in range(len(job.plan.units)):
        rows, alive = load_rows(job, unit, outputs)
        truth = truth_of(job, rows.ids)
        fit = alive & rows.valid & (rows.labels >= 0)
        usable, trusted = usable + int(fit.sum()), trusted + int((alive & (truth >= 0)).sum())
        chosen = alive & (fit | (truth >= 0))
        parts.append((rows.take(np.flatnonzero(chosen)), truth[chosen]))
        if sum(len(part) for _, part in parts) > 2 * POLICY_ROWS:
            parts = [_lowest(parts)]
    return _Learnable(*_lowest(parts), usable, trusted)


def _lowest(parts: list[tuple[Rows, np.ndarray]]) -> tuple[Rows, np.ndarray]:
    """The POLICY_ROWS that come first, by sample id: the same ones in the same order wherever they and others lay."""
    rows, truth = Rows.concat([part for part, _ in parts]), np.concatenate([part for _, part in parts])
    first, second = rows.ids.copy().view(">u8").reshape(-1, 2).T
    at = np.lexsort((second, first, truth < 0))[:POLICY_ROWS]
    at = at[np.lexsort((second[at], first[at]))]
    return rows.take(at), truth[at]


def sample_mask(ids: np.ndarray, share: float) -> np.ndarray:
    """bool[n]: a fixed share of rows by their ids (uint8[n, 16], uniform hashes); the same rows wherever they lie."""
    lead = ids[:, :8].copy().view(">u8").reshape(-1).astype(np.float64) / 2.0**64
    return lead < share


def kept_mask(job: Job, unit: int) -> np.ndarray:
    """bool[n]: rows the decision keeps."""
    actions = job.read_side(unit, "verdicts", ["action"])["action"]
    return np.asarray(pc.not_equal(actions, DROP).combine_chunks())
