"""How hard a row is to learn once the data is curated: out-of-fold loss of heads fitted on kept rows.

Knows vectors, labels and ids; nothing of verdicts, trust or curricula.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from agents.checkpoint import from_tensors, to_tensors
from agents.determinism import CHUNK_ROWS, NUM_FOLDS, one_thread
from agents.proxy.heads import fit_heads, fold_masks, head_log_probs
from agents.space import Space, joined
from agents.types import Rows
from curator.errors import InputError, IntegrityError

__all__ = ["DIFFICULTY_VERSION", "DifficultyModel"]

DIFFICULTY_VERSION: Final = 1
STRENGTH: Final = 3e-3
_MAX_LOSS: Final = 30.0


@dataclass(frozen=True)
class DifficultyModel:
    """space, and heads_DKC: head k was fitted without the rows of fold k. version: of this file's form."""

    version: int
    space: Space
    heads_DKC: torch.Tensor

    @staticmethod
    def fit(
        embeddings: np.ndarray, labels: np.ndarray, ids: np.ndarray, *, classes: int = 0, seed: int = 0
    ) -> DifficultyModel:
        """Fits on kept rows; their order does not matter.

        embeddings: float32[n, d]. labels: int64[n] after curation, all given. ids: uint8[n, 16]. classes: number of
        codes, at least those seen. Raises InputError on no row or a row without a label.
        """
        if not len(labels) or labels.min() < 0:
            raise InputError(
                f"difficulty needs labelled rows; got {len(labels)}, {int((labels < 0).sum())} without a label"
            )
        order = np.lexsort(ids.T[::-1])
        classes = max(classes, int(labels.max()) + 1)
        rows = _rows(embeddings[order], labels[order].astype(np.int64), ids[order])
        with one_thread():
            space = Space.fit(rows, seed)
            chunks = space.place_all(rows)
            x, folds = (joined([getattr(c, name) for c in chunks], len(rows)) for name in ("x_BD", "folds_B"))
            targets = torch.nn.functional.one_hot(torch.from_numpy(rows.labels), classes).float()[:, None]
            heads = fit_heads(x, targets, fold_masks(folds.numpy(), NUM_FOLDS), (STRENGTH,))[0]
        return DifficultyModel(DIFFICULTY_VERSION, space, heads)

    def score(self, embeddings: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """-log p(label) of the own fold's head, nats, float32[n]; NaN without a label. A row's bits are its own."""
        rows = _rows(embeddings, labels.astype(np.int64), ids)
        out = np.zeros(len(rows), np.float32)
        with one_thread():
            for start in range(0, len(rows), CHUNK_ROWS):
                piece = rows.take(slice(start, start + CHUNK_ROWS))
                chunk = self.space.place(piece)
                log_probs = head_log_probs(chunk.x_BD, self.heads_DKC[None], chunk.folds_B)[:, 0]
                loss = -log_probs.gather(1, chunk.labels_B[:, None]).squeeze(1).clamp_min(-_MAX_LOSS)
                out[start : start + CHUNK_ROWS] = loss.numpy()[: len(piece)]
        return np.where(labels < 0, np.float32(math.nan), out)

    def save(self, path: Path) -> None:
        """One safetensors file."""
        save_file(to_tensors(self), path)

    @staticmethod
    def load(path: Path) -> DifficultyModel:
        """Raises IntegrityError on an unknown version."""
        model = from_tensors(DifficultyModel, load_file(path))
        if model.version != DIFFICULTY_VERSION:
            raise IntegrityError(
                f"{path} is difficulty version {model.version}, known here is {DIFFICULTY_VERSION}: rank again"
            )
        return model


def _rows(embeddings: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> Rows:
    n = len(ids)
    return Rows(ids, embeddings.astype(np.float32), np.ones(n, bool), labels, np.zeros((n, 0), np.float32))
