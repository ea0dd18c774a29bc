"""Small pools with known truth: clusters of vectors, labels with errors of a chosen kind. Knows nothing of judges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from agents.types import Rows


@dataclass(frozen=True)
class Pool:
    """rows carry the given labels; truth: int64[n]; bad: bool[n]."""

    rows: Rows
    truth: np.ndarray

    @property
    def bad(self) -> np.ndarray:
        return self.rows.labels != self.truth

    def trusted(self, count: int, seed: int) -> np.ndarray:
        """int64[n]: the truth of `count` rows drawn by seed, -1 elsewhere."""
        out = np.full(len(self.truth), -1, np.int64)
        chosen = np.random.default_rng(seed).permutation(len(out))[:count]
        out[chosen] = self.truth[chosen]
        return out


def _sample_ids(n: int, seed: int) -> np.ndarray:
    """uint8[n, 16], uniform."""
    return np.random.default_rng((seed, 1)).integers(0, 256, (n, 16)).astype(np.uint8)


def _make_pool(
    n: int = 900, classes: int = 3, noise: float = 0.2, *, systematic: bool = False, signals: int = 0, seed: int = 0
) -> Pool:
    """Overlapping Gaussian classes in 12 dimensions. systematic: class c is mislabelled c + 1 in one half-space
    only.
    """
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    centres = rng.normal(size=(classes, 12)) * 1.2
    vectors = (centres[truth] + rng.normal(size=(n, 12))).astype(np.float32)
    if systematic:
        flip = (vectors[:, 0] > np.quantile(vectors[:, 0], 0.6)) & (rng.random(n) < 2.5 * noise)
        given = np.where(flip, (truth + 1) % classes, truth)
    else:
        given = np.where(rng.random(n) < noise, (truth + rng.integers(1, classes, n)) % classes, truth)
    columns = rng.normal(size=(n, signals)).astype(np.float32)
    rows = Rows(_sample_ids(n, seed), vectors, np.ones(n, bool), given.astype(np.int64), columns)
    return Pool(rows, truth.astype(np.int64))


@pytest.fixture(scope="session")
def make_pool() -> Callable[..., Pool]:
    """`make_pool(n, classes, noise, systematic=…, signals=…, seed=…)`."""
    return _make_pool
