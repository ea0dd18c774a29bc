"""The share of wrong labels: counted from trusted rows within sampling error; the model's guess has another name."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from agents.learner import learn
from agents.noise import counted_noise
from agents.types import Rows
from curator.recipe.policy import PolicySpec

QUICK = PolicySpec(rounds=0)


def test_real_errors_are_counted_within_sampling_error(data: Path) -> None:
    """400 random trusted rows of NoisyAG-News: 95% intervals hold the true share in nearly all of 200 audits."""
    table = pq.read_table(data / "noisyag_news.parquet")
    table = table.filter(pc.equal(table["split"], "train"))
    given, truth = (table[name].to_numpy().astype(np.int64) for name in ("label_given", "label_true"))
    share = float((given != truth).mean())
    found = []
    for seed in range(200):
        chosen = np.random.default_rng(seed).permutation(len(given))[:400]
        shown = np.full(len(given), -1)
        shown[chosen] = truth[chosen]
        noise = counted_noise(given, shown)
        assert noise is not None and noise.rows == 400
        found.append((noise.share, noise.low <= share <= noise.high))
    shares, held = np.array(found).T
    error = math.sqrt(share * (1 - share) / 400)
    assert abs(shares.mean() - share) < 3 * error / math.sqrt(200)
    assert shares.std() < 1.2 * error and held.mean() > 0.9


def test_a_sample_with_as_many_rows_of_every_label_does_not_lean() -> None:
    rng = np.random.default_rng(0)
    given = (rng.random(20_000) < 0.1).astype(np.int64)
    truth = np.where(rng.random(20_000) < np.where(given == 1, 0.5, 0.02), 1 - given, given)
    shown = np.full(20_000, -1)
    for label in (0, 1):
        chosen = np.flatnonzero(given == label)[:500]
        shown[chosen] = truth[chosen]
    noise = counted_noise(given, shown)
    assert noise is not None and noise.low <= (given != truth).mean() <= noise.high
    trusted = shown >= 0
    assert (given != truth)[trusted].mean() > 0.2 > 0.1 > noise.share


def test_no_error_found_still_leaves_room_for_some() -> None:
    given = np.zeros(100, np.int64)
    noise = counted_noise(given, np.where(np.arange(100) < 20, 0, -1))
    assert noise is not None and (noise.share, noise.low) == (0.0, 0.0) and 0.1 < noise.high < 0.2
    assert counted_noise(given, np.full(100, -1)) is None


@pytest.mark.parametrize("trusted", [8, 200], ids=["too few to teach", "enough to teach"])
def test_the_scorecard_counts_trusted_rows(make_pool: Callable[..., Any], trusted: int) -> None:
    pool = make_pool(600, systematic=True)
    truth = pool.trusted(trusted, 0)
    card = learn(pool.rows, truth, classes=3, task="classification", config=QUICK).scorecard
    assert card["estimated_noise_rows"] == trusted and "noise_visible_to_model" not in card
    assert card["estimated_noise_low"] <= pool.bad.mean() <= card["estimated_noise_high"]


def test_without_a_trusted_row_the_models_guess_has_its_own_name(make_pool: Callable[..., Any]) -> None:
    pool = make_pool(600)
    card = learn(pool.rows, np.full(600, -1), classes=3, task="classification", config=QUICK).scorecard
    assert 0 < card["noise_visible_to_model"] < 0.5 and not [name for name in card if name.startswith("estimated")]


@pytest.mark.parametrize("trusted", [0, 100])
def test_text_has_no_labels_to_be_wrong(trusted: int) -> None:
    rng = np.random.default_rng(0)
    ids, signals = rng.integers(0, 256, (300, 16)).astype(np.uint8), rng.normal(size=(300, 3)).astype(np.float32)
    rows = Rows(ids, None, np.ones(300, bool), np.zeros(300, np.int64), signals)
    truth = np.where(np.arange(300) < trusted, (signals[:, 0] > 0).astype(np.int64), -1)
    judge = learn(rows, truth, classes=2, task="text", config=QUICK)
    assert not [name for name in judge.scorecard if "noise" in name]
    if not trusted:
        assert judge.decide(rows).label_score.min() > 0.01, "knowing nothing is no proof that every row is bad"
