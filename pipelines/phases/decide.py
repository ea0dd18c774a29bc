"""Decide: a verdict for every row of a unit, from side files alone. Judging is not acting: nothing is dropped here.

Order of authority: content missing, trusted truth, the recipe's operators in their order, the policy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from agents.rules_policy import rules_decide
from agents.types import REASONS
from curator.verdict import DROP, KEEP, RELABEL
from pipelines.job import Job
from pipelines.judging import duplicate_rows, load_judge, load_rows, truth_of
from pipelines.phases.reasons import reason_names
from pipelines.side import rule_masks, signal_columns

__all__ = ["decide", "judged", "tally", "verdicts_schema"]


def verdicts_schema() -> pa.Schema:
    """Codes; the ledger gives them names. action uint8 · reason int16, -1 none · reasons list<int16> · predicted int64,
    class code, -1 none · scores float32 · duplicate_of binary(16) · similarity float32."""
    return pa.schema(
        [
            ("action", pa.uint8()),
            ("reason", pa.int16()),
            ("reasons", pa.list_(pa.int16())),
            ("predicted", pa.int64()),
            ("label_score", pa.float32()),
            ("confidence", pa.float32()),
            ("propensity", pa.float32()),
            ("duplicate_of", pa.binary(16)),
            ("similarity", pa.float32()),
        ]
    )


def decide(job: Job, unit: int, outputs: dict[str, Any]) -> dict[str, Any]:
    """Writes the unit's verdicts. Returns {rows, kept, dropped, relabeled, reasons: {name: rows}}."""
    verdicts = judged(job, unit, outputs)
    with job.side_writer(unit, "verdicts", verdicts.schema) as writer:
        writer.write_batch(verdicts)
    return tally(verdicts, reason_names(job.recipe))


def tally(verdicts: pa.RecordBatch, names: tuple[str, ...]) -> dict[str, Any]:
    """Rows by action and by decisive reason."""
    actions = verdicts.column("action").to_numpy()
    reasons = verdicts.column("reason").to_numpy()
    counts = np.bincount(reasons[reasons >= 0], minlength=len(names))
    return {
        "rows": len(actions),
        "kept": int((actions != DROP).sum()),
        "dropped": int((actions == DROP).sum()),
        "relabeled": int((actions == RELABEL).sum()),
        "reasons": {names[code]: int(count) for code, count in enumerate(counts) if count},
    }


def judged(
    job: Job, unit: int, outputs: dict[str, Any], *, recipe: Any = None, duplicates: dict[str, Any] | None = None
) -> pa.RecordBatch:
    """The unit's verdicts as a value; other thresholds (`recipe`) and clusters (`duplicates`) may be tried."""
    recipe = recipe or job.recipe
    table = job.read_side(unit, "signals")
    found = duplicates or duplicate_rows(job, unit, outputs)
    names = reason_names(recipe)
    fired = _fired(recipe, table, found)
    draft = _Draft.from_rules(names, fired, badness(recipe, table), table["present"].to_numpy())
    rows, _ = load_rows(job, unit, outputs)
    if outputs["learn"]["judge"]:
        draft.judge(load_judge(job.root, job.run), rows, names, image=recipe.modality == "image")
    elif recipe.task == "classification":
        draft.drop_unlabelled(rows.labels < 0, names)
    draft.trust(truth_of(job, rows.ids), rows.labels, names, labelled=recipe.task == "classification")
    return draft.batch(fired, names, found)


def badness(recipe: Any, table: pa.Table) -> np.ndarray:
    """float32[n]: the worst excess over any threshold of the row operators; 0 lies on the threshold, NaN cannot say."""
    columns = signal_columns(table)
    parts = [np.asarray(op.badness(columns), np.float32) for op in recipe.row_operators]
    return np.fmax.reduce(parts) if parts else np.full(table.num_rows, np.nan, np.float32)


def _fired(recipe: Any, table: pa.Table, found: dict[str, Any]) -> dict[str, np.ndarray]:
    """reason -> bool[n] in the recipe's order."""
    masks = rule_masks(recipe, table)
    fired: dict[str, np.ndarray] = {}
    for position, op in enumerate(recipe.process):
        if position in masks:
            fired |= masks[position]
        else:
            [reason] = op.reasons
            fired[reason] = found["operator"] == position
    return fired


class _Draft:
    """Verdict columns while they are filled; each step overrules the one before where it speaks."""

    def __init__(self, rows: int):
        self.action = np.full(rows, KEEP, np.uint8)
        self.reason = np.full(rows, -1, np.int16)
        self.predicted = np.full(rows, -1, np.int64)
        self.label_score = np.full(rows, np.nan, np.float32)
        self.confidence = np.ones(rows, np.float32)
        self.propensity = np.ones(rows, np.float32)

    @classmethod
    def from_rules(
        cls, names: tuple[str, ...], fired: dict[str, np.ndarray], worst: np.ndarray, present: np.ndarray
    ) -> _Draft:
        decisions = rules_decide({"missing_content": ~present, **fired}, worst)
        draft = cls(len(present))
        draft.action[:] = decisions.actions
        lookup = np.array([*map(names.index, ["missing_content", *fired]), -1], np.int16)
        draft.reason[:] = lookup[decisions.reasons]
        draft.label_score[:] = decisions.label_score
        return draft

    def judge(self, judge: Any, rows: Any, names: tuple[str, ...], *, image: bool) -> None:
        """The policy speaks on rows the rules keep; rows dropped before it carry no score."""
        alive = np.flatnonzero(self.action == KEEP)
        self.label_score[self.action == DROP] = np.nan
        decisions = judge.decide(rows.take(alive), no_content="undecodable_image" if image else "missing_content")
        lookup = np.array([names.index(name) if name else -1 for name in REASONS], np.int16)
        self.action[alive] = decisions.actions
        self.reason[alive] = lookup[decisions.reasons]
        self.predicted[alive] = decisions.predicted
        self.label_score[alive] = decisions.label_score
        self.confidence[alive] = decisions.confidence
        self.propensity[alive] = decisions.propensity

    def drop_unlabelled(self, unlabelled: np.ndarray, names: tuple[str, ...]) -> None:
        """What a judge does too: a row that the rules keep cannot teach without its label."""
        mine = unlabelled & (self.action == KEEP)
        self._say(mine, DROP, names.index("missing_label"))
        self.label_score[mine] = 0.0

    def trust(self, truth: np.ndarray, given: np.ndarray, names: tuple[str, ...], *, labelled: bool) -> None:
        """A trusted row gets its truth. A label says nothing about duplicates or broken content: those stay dropped."""
        known = truth >= 0
        if labelled:
            judged_drop = np.isin(self.reason, [names.index("label_error"), names.index("missing_label")])
            known &= (self.action != DROP) | judged_drop
            wrong = known & (truth != given)
            self._say(known & ~wrong, KEEP, -1)
            self._say(wrong, RELABEL, names.index("trusted_label"))
            self.predicted[known] = truth[known]
        else:
            self._say(known & (truth == 1), KEEP, names.index("trusted_keep"))
            self._say(known & (truth == 0), DROP, names.index("trusted_drop"))

    def _say(self, mask: np.ndarray, action: int, reason: int) -> None:
        self.action[mask], self.reason[mask] = action, reason
        self.confidence[mask] = self.propensity[mask] = 1.0

    def batch(self, fired: dict[str, np.ndarray], names: tuple[str, ...], found: dict[str, Any]) -> pa.RecordBatch:
        columns = [
            pa.array(self.action),
            pa.array(self.reason),
            self._all_reasons(fired, names),
            pa.array(self.predicted),
            pa.array(self.label_score, mask=np.isnan(self.label_score)),
            pa.array(self.confidence),
            pa.array(self.propensity),
            found["duplicate_of"],
            pa.array(found["similarity"], mask=np.isnan(found["similarity"])),
        ]
        return pa.record_batch(columns, schema=verdicts_schema())

    def _all_reasons(self, fired: dict[str, np.ndarray], names: tuple[str, ...]) -> pa.Array:
        """list<int16>[n]: every rule that fired, and the decisive reason where no rule gave it; in the list's order."""
        matrix = np.zeros((len(self.action), len(names)), bool)
        for reason, mask in fired.items():
            matrix[:, names.index(reason)] = mask
        decided = np.flatnonzero(self.reason >= 0)
        matrix[decided, self.reason[decided]] = True
        offsets = np.concatenate([[0], np.cumsum(matrix.sum(axis=1))]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.nonzero(matrix)[1].astype(np.int16)))
