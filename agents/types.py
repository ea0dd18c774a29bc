"""The shapes a judge reads and writes: rows in, decisions out. Columns, never objects per row.

Knows nothing of files, recipes or how a decision is reached.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from curator.verdict import KEEP

__all__ = ["NO_REASON", "REASONS", "Decisions", "Rows", "Task", "reason_code"]

Task = Literal["classification", "text"]

REASONS: Final = (
    "",
    "label_error",
    "low_quality",
    "trusted_label",
    "trusted_drop",
    "trusted_keep",
    "missing_label",
    "missing_content",
    "undecodable_image",
)
"""Reasons a judge gives, by code; code 0 is none (kept as it is). A subset of `curator.verdict.POLICY_REASONS`."""

NO_REASON: Final = 0


def reason_code(name: str) -> int:
    """The code of a reason's name. Raises ValueError for a name a judge does not give."""
    if name not in REASONS:
        raise ValueError(f"a judge gives no reason {name!r}; it gives {', '.join(REASONS[1:])}")
    return REASONS.index(name)


@dataclass(frozen=True)
class Rows:
    """n rows as columns.

    ids: uint8[n, 16], sample ids. embeddings: float32[n, d], or None when no encoder ran. valid: bool[n], an embedding
    exists. labels: int64[n], code of the given label, -1 = null; all 0 for text. signals: float32[n, s], rule signals,
    NaN = cannot say.
    """

    ids: np.ndarray
    embeddings: np.ndarray | None
    valid: np.ndarray
    labels: np.ndarray
    signals: np.ndarray

    def __post_init__(self) -> None:
        lengths = {name: len(value) for name, value in vars(self).items() if value is not None}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of unequal length: {lengths}")
        if self.ids.dtype != np.uint8 or self.ids.shape[1:] != (16,):
            raise ValueError(f"ids are {self.ids.dtype}{list(self.ids.shape)}; sample ids are uint8[n, 16]")
        if self.signals.ndim != 2:
            raise ValueError(f"signals are {list(self.signals.shape)}; they are float32[n, s], s may be 0")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def vectors(self) -> np.ndarray:
        """The embeddings; float32[n, 0] where no encoder ran."""
        return (
            np.zeros((len(self), 0), np.float32)
            if self.embeddings is None
            else self.embeddings.astype(np.float32, copy=False)
        )

    def take(self, index: np.ndarray | slice) -> Rows:
        """The rows at `index` (positions, a mask or a slice)."""
        embeddings = None if self.embeddings is None else self.embeddings[index]
        return Rows(self.ids[index], embeddings, self.valid[index], self.labels[index], self.signals[index])

    @staticmethod
    def concat(parts: list[Rows]) -> Rows:
        """The parts one after another, at least one; all with embeddings or none."""
        vectors = [part.embeddings for part in parts if part.embeddings is not None]
        if vectors and len(vectors) < len(parts):
            raise ValueError(f"{len(vectors)} of {len(parts)} parts have embeddings; all or none must")
        return Rows(
            ids=np.concatenate([part.ids for part in parts]),
            embeddings=np.concatenate(vectors) if vectors else None,
            valid=np.concatenate([part.valid for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            signals=np.concatenate([part.signals for part in parts]),
        )

    def relabelled(self, labels: np.ndarray) -> Rows:
        """The same rows under other given labels, int64[n]."""
        return replace(self, labels=labels)


@dataclass(frozen=True)
class Decisions:
    """n decisions as columns.

    actions: uint8[n], codes of `curator.verdict`. reasons: uint8[n], codes into `REASONS`. predicted: int64[n], code of
    the proposed label, -1 = none. label_score: float32[n] in [0, 1], low = bad; comparable over everything one judge
    decides. confidence: float32[n] in [0, 1], of the chosen action. propensity: float32[n], probability with which the
    logging policy took that action; 1 where it is a fixed function of the row.
    """

    actions: np.ndarray
    reasons: np.ndarray
    predicted: np.ndarray
    label_score: np.ndarray
    confidence: np.ndarray
    propensity: np.ndarray

    def __len__(self) -> int:
        return len(self.actions)

    @staticmethod
    def keep_all(n: int) -> Decisions:
        """n rows kept as they are, with nothing held against them."""
        return Decisions(
            actions=np.full(n, KEEP, np.uint8),
            reasons=np.full(n, NO_REASON, np.uint8),
            predicted=np.full(n, -1, np.int64),
            label_score=np.ones(n, np.float32),
            confidence=np.ones(n, np.float32),
            propensity=np.ones(n, np.float32),
        )

    @staticmethod
    def concat(parts: list[Decisions]) -> Decisions:
        """The parts one after another."""
        return Decisions(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})
