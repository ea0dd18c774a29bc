"""The judge: a fitted observer, a policy and two thresholds; decides a row alone or among others with the same bits.

Knows rows and decisions; nothing of files of data, recipes' operators or how it was taught.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from agents.checkpoint import from_tensors, to_tensors
from agents.determinism import CHUNK_ROWS, id_keys, one_thread
from agents.learned_policy import LearnedPolicy
from agents.observation import STATE_VERSION, Observer
from agents.types import Decisions, Rows, Task, reason_code
from curator.digest import content_id, sha256_hex
from curator.errors import IntegrityError, NotFoundError
from curator.verdict import DROP, KEEP, RELABEL

__all__ = ["JUDGE_VERSION", "Judge", "Mind"]

JUDGE_VERSION: Final = "2"
_WEIGHTS, _CARD = "judge.safetensors", "judge.json"
_TEXT_GIVEN: Final = 1
"""The label every text row is given: 1 = keep. So a bad text row is a label error too."""


@dataclass(frozen=True)
class Mind:
    """Everything a decision hangs on.

    drop_above_G: badness above which a row is dropped, float64, for all rows (G = 1) or by given label; infinity =
    never. relabel_from: π(relabel) from which the proposal is written, infinity = never. trusted_ids: uint8[T, 16]
    ascending, and trusted_truth: int64[T], of every trusted row.
    """

    observer: Observer
    policy: LearnedPolicy
    drop_above_G: torch.Tensor
    relabel_from: float
    trusted_ids: torch.Tensor
    trusted_truth: torch.Tensor

    def drop_above(self, labels_B: torch.Tensor) -> torch.Tensor:
        """The threshold of rows with these given labels, float64[B]."""
        return self.drop_above_G[labels_B if len(self.drop_above_G) > 1 else torch.zeros_like(labels_B)]


@dataclass(frozen=True)
class Judge:
    """What `learn` returns. scorecard: JSON-able, explained number by number in `agents/README.md`."""

    mind: Mind
    task: Task
    scorecard: dict[str, Any]

    @property
    def version(self) -> str:
        """Content digest of weights, thresholds, task and state schema: equal decisions, equal name."""
        digests = {
            name: sha256_hex(f"{tensor.dtype}{list(tensor.shape)}".encode() + tensor.numpy().tobytes())
            for name, tensor in to_tensors(self.mind).items()
        }
        return content_id("judge", {"task": self.task, "state": STATE_VERSION, "tensors": digests})

    def decide(self, rows: Rows, *, no_content: str = "missing_content") -> Decisions:
        """Decisions for n rows, in their order; a row's do not depend on the rows beside it.

        no_content: the reason for rows without a vector (`missing_content` or `undecodable_image`). Order of
        precedence: trusted, no vector, no label, policy. Raises ValueError on vectors or signals of another width than
        learned from.
        """
        _check_widths(rows, self.mind.observer)
        with one_thread():
            parts = [self._decide_chunk(part) for part in _pieces(as_task(rows, self.task))]
        decided = Decisions.concat(parts) if parts else Decisions.keep_all(0)
        _set_aside(decided, ~rows.valid, reason_code(no_content))
        _set_aside(decided, rows.valid & (rows.labels < 0), reason_code("missing_label"))
        self._obey_trusted(decided, rows)
        return decided

    def badness(self, rows: Rows) -> np.ndarray:
        """P(not keep) of n rows with vector and label, float32[n]: the ranking before any threshold."""
        return np.float32(1.0) - self.decide(rows).label_score

    def _decide_chunk(self, rows: Rows) -> Decisions:
        mind, n = self.mind, len(rows)
        chunk = mind.observer.space.place(rows)
        seen = mind.observer.observe(chunk)
        badness, relabel = (values.numpy() for values in mind.policy.beliefs(seen))
        actions = acted(badness, relabel, mind.drop_above(chunk.labels_B).numpy(), mind.relabel_from)
        reason = reason_code("label_error" if self.task == "classification" else "low_quality")
        proposal = seen.proposal_B.numpy() if self.task == "classification" else np.full(len(actions), -1)
        confidence = np.choose(actions, [1 - badness, badness, relabel])
        return Decisions(
            actions=actions[:n],
            reasons=np.where(actions != KEEP, reason, 0).astype(np.uint8)[:n],
            predicted=np.where(actions != KEEP, proposal, -1).astype(np.int64)[:n],
            label_score=(1 - badness).astype(np.float32)[:n],
            confidence=confidence.astype(np.float32)[:n],
            propensity=np.ones(n, np.float32),
        )

    def _obey_trusted(self, decided: Decisions, rows: Rows) -> None:
        """Trusted rows follow their truth; their label_score stays the model's."""
        mine, keys = id_keys(self.mind.trusted_ids.numpy()), id_keys(rows.ids)
        if not len(mine):
            return
        at = np.searchsorted(mine, keys).clip(0, len(mine) - 1)
        trusted = mine[at] == keys
        truth = self.mind.trusted_truth.numpy()[at]
        right = truth == (rows.labels if self.task == "classification" else _TEXT_GIVEN)
        change, reason = (RELABEL, "trusted_label") if self.task == "classification" else (DROP, "trusted_drop")
        decided.actions[trusted] = np.where(right, KEEP, change)[trusted]
        decided.reasons[trusted] = np.where(right, reason_code("trusted_keep"), reason_code(reason))[trusted]
        decided.predicted[trusted] = np.where(right | (change == DROP), -1, truth)[trusted]
        decided.confidence[trusted] = 1.0

    def save(self, folder: Path) -> None:
        """Writes `judge.safetensors` and `judge.json` into the folder, made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(to_tensors(self.mind), folder / _WEIGHTS)
        card = {"judge": JUDGE_VERSION, "state": STATE_VERSION, "version": self.version, "task": self.task}
        (folder / _CARD).write_text(json.dumps(card | {"scorecard": self.scorecard}, indent=1, sort_keys=True))

    @staticmethod
    def load(folder: Path) -> Judge:
        """A saved judge. Raises NotFoundError, or IntegrityError on an unknown version or altered bytes."""
        if not (folder / _CARD).exists() or not (folder / _WEIGHTS).exists():
            raise NotFoundError(f"no judge in {folder}: {_CARD} and {_WEIGHTS} belong there; run the learn phase")
        card = json.loads((folder / _CARD).read_text())
        known = {"judge": JUDGE_VERSION, "state": STATE_VERSION}
        found = {name: card.get(name) for name in known}
        if found != known:
            raise IntegrityError(f"{folder} holds a judge of version {found}, known here is {known}: learn it again")
        judge = Judge(from_tensors(Mind, load_file(folder / _WEIGHTS)), card["task"], card["scorecard"])
        if judge.version != card["version"]:
            raise IntegrityError(
                f"{folder}: the weights are {judge.version}, the card says {card['version']}; restore it"
            )
        return judge


def acted(badness: np.ndarray, relabel: np.ndarray, drop_above: np.ndarray, relabel_from: float) -> np.ndarray:
    """The action each row's beliefs come to, uint8[n]: relabel where sure enough, else drop, else keep."""
    changed = np.where(relabel >= relabel_from, RELABEL, np.where(badness > drop_above, DROP, KEEP))
    return changed.astype(np.uint8)


def as_task(rows: Rows, task: Task) -> Rows:
    """The rows as the state wants them: text rows are given the label `keep`."""
    return rows if task == "classification" else rows.relabelled(np.full(len(rows), _TEXT_GIVEN, np.int64))


def _pieces(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), CHUNK_ROWS):
        yield rows.take(slice(start, start + CHUNK_ROWS))


def _set_aside(decided: Decisions, mask: np.ndarray, reason: int) -> None:
    decided.actions[mask], decided.reasons[mask], decided.predicted[mask] = DROP, reason, -1
    decided.label_score[mask], decided.confidence[mask] = 0.0, 1.0


def _check_widths(rows: Rows, observer: Observer) -> None:
    width, signals = observer.space.width, observer.space.ranks.knots_GFQ.shape[1]
    if len(rows) and (rows.vectors.shape[1], rows.signals.shape[1]) != (width, signals):
        raise ValueError(
            f"rows have vectors of width {rows.vectors.shape[1]} and {rows.signals.shape[1]} signals; this judge "
            f"learned from {width} and {signals}. Use the encoder and the operators it was taught with."
        )
