"""Verdict columns while they are filled: the rules speak, then the policy, then what settles.

Each step overrules the one before where it may. Knows what was said, not who read it from where.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from agents.rules_policy import rules_decide
from agents.types import REASONS
from curator.verdict import DROP, KEEP, RELABEL
from pipelines.copies import Copies
from pipelines.rules import BROKEN, Said

__all__ = ["VERDICTS", "Draft"]

VERDICTS: Final = pa.schema(
    [
        ("action", pa.uint8()),
        ("reason", pa.int16()),
        ("reasons", pa.list_(pa.int16())),
        ("given", pa.int64()),
        ("predicted", pa.int64()),
        ("label_score", pa.float32()),
        ("confidence", pa.float32()),
        ("propensity", pa.float32()),
        ("duplicate_of", pa.binary(16)),
        ("similarity", pa.float32()),
    ]
)
"""Codes; the ledger gives them names. action of `curator.verdict` · reason and reasons: places among the recipe's
reason names, -1 none · given and predicted: class codes, -1 none · whom the row duplicates, and how closely."""


class Draft:
    """The verdicts on n rows, filled step by step.

    names: the recipe's reasons. found: what the rules say. worst: float32[n], their badness.
    """

    def __init__(self, names: tuple[str, ...], found: Sequence[Said], worst: np.ndarray):
        rows = len(worst)
        self.names, self.found = names, found
        decisions = rules_decide({f"{place} {item.reason}": item.rows for place, item in enumerate(found)}, worst)
        self.action = decisions.actions
        self.reason = np.array([*(names.index(item.reason) for item in found), -1], np.int16)[decisions.reasons]
        self.label_score = decisions.label_score
        self.predicted = np.full(rows, -1, np.int64)
        self.confidence = np.ones(rows, np.float32)
        self.propensity = np.ones(rows, np.float32)

    def judge(self, judge: Any, rows: Any, *, no_content: str) -> None:
        """The policy speaks on rows the rules keep; rows dropped before it carry no score."""
        alive = np.flatnonzero(self.action == KEEP)
        self.label_score[self.action == DROP] = np.nan
        decisions = judge.decide(rows.take(alive), no_content=no_content)
        self.action[alive] = decisions.actions
        self.reason[alive] = np.array([self.names.index(name) if name else -1 for name in REASONS])[decisions.reasons]
        self.predicted[alive] = decisions.predicted
        self.label_score[alive] = decisions.label_score
        self.confidence[alive] = decisions.confidence
        self.propensity[alive] = decisions.propensity

    def stand(self, rows: np.ndarray, verdicts: pa.Table) -> None:
        """Earlier verdicts stand, where `rows` (bool[n]) says so and the rules keep the row."""
        mine = rows & (self.action == KEEP)
        for name in ("action", "reason", "predicted"):
            getattr(self, name)[mine] = verdicts[name].to_numpy()[mine]

    def settle(self, truth: np.ndarray, given: np.ndarray, *, labelled: bool) -> None:
        """What holds under every policy. truth: int64[n], -1 not trusted. given: int64[n], the label's code, -1 none.

        A row without the label that its task needs teaches nothing. A trusted row gets its truth, unless its content is
        missing or broken. A true label says nothing about rules and duplicates: a labelled row that they drop stays
        dropped. A text marked as good is kept whatever they say.
        """
        known = (truth >= 0) & ~np.isin(self.reason, [self.names.index(name) for name in BROKEN])
        if labelled:
            unlabelled = (given < 0) & (self.action == KEEP)
            self._say(unlabelled, DROP, self.names.index("missing_label"))
            self.label_score[unlabelled] = 0.0
            judged = np.isin(self.reason, [self.names.index(name) for name in ("label_error", "missing_label")])
            known &= (self.action != DROP) | judged
            wrong = known & (truth != given)
            self._say(known & ~wrong, KEEP, -1)
            self._say(wrong, RELABEL, self.names.index("trusted_label"))
            self.predicted[known] = truth[known]
        else:
            self._say(known & (truth == 1), KEEP, self.names.index("trusted_keep"))
            self._say(known & (truth == 0), DROP, self.names.index("trusted_drop"))

    def mask(self, rows: np.ndarray) -> None:
        """Rows (bool[n]) that are kept so far are kept with their personal data masked."""
        mine = rows & (self.action == KEEP)
        self.action[mine] = RELABEL
        self.reason[mine & (self.reason < 0)] = self.names.index("personal_data_masked") if mine.any() else -1

    def _say(self, mask: np.ndarray, action: int, reason: int) -> None:
        self.action[mask], self.reason[mask] = action, reason
        self.confidence[mask] = self.propensity[mask] = 1.0

    def batch(self, copies: Copies, given: np.ndarray) -> pa.RecordBatch:
        """The verdicts, whole. given: int64[n], code of the given label, -1 none."""
        columns = [
            pa.array(self.action),
            pa.array(self.reason),
            self._all_reasons(),
            pa.array(given),
            pa.array(self.predicted),
            pa.array(self.label_score, mask=np.isnan(self.label_score)),
            pa.array(self.confidence),
            pa.array(self.propensity),
            copies.duplicate_of,
            pa.array(copies.similarity, mask=np.isnan(copies.similarity)),
        ]
        return pa.record_batch(columns, schema=VERDICTS)

    def _all_reasons(self) -> pa.Array:
        """list<int16>[n]: every rule that fired, and the decisive reason where no rule gave it; in the names' order."""
        matrix = np.zeros((len(self.action), len(self.names)), bool)
        for item in self.found:
            matrix[:, self.names.index(item.reason)] |= item.rows
        decided = np.flatnonzero(self.reason >= 0)
        matrix[decided, self.reason[decided]] = True
        offsets = np.concatenate([[0], np.cumsum(matrix.sum(axis=1))]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.nonzero(matrix)[1].astype(np.int16)))
