"""Difficulty is out-of-fold loss: rare and mislabelled rows are hard, and a row's score is its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.proxy.difficulty import DifficultyModel
from curator.errors import InputError, IntegrityError


def test_wrong_rows_are_hard_and_scores_round_trip(make_pool: Callable[..., Any], tmp_path: Path) -> None:
    pool = make_pool(600, noise=0.1)
    rows = pool.rows
    model = DifficultyModel.fit(rows.vectors, rows.labels, rows.ids, classes=3, seed=0)
    score = model.score(rows.vectors, rows.labels, rows.ids)
    assert score.dtype == np.float32 and (score >= 0).all()
    assert score[pool.bad].mean() > 3 * score[~pool.bad].mean()
    model.save(tmp_path / "d.safetensors")
    again = DifficultyModel.load(tmp_path / "d.safetensors")
    pieces = [
        again.score(rows.vectors[i : i + 77], rows.labels[i : i + 77], rows.ids[i : i + 77]) for i in range(0, 600, 77)
    ]
    assert np.array_equal(np.concatenate(pieces), score)
    order = np.random.default_rng(0).permutation(600)
    other = DifficultyModel.fit(rows.vectors[order], rows.labels[order], rows.ids[order], classes=3, seed=0)
    assert np.array_equal(other.score(rows.vectors, rows.labels, rows.ids), score)


def test_a_row_is_not_judged_by_a_head_that_saw_it(make_pool: Callable[..., Any]) -> None:
    rows = make_pool(60, noise=0.0).rows
    random = np.random.default_rng(7).integers(0, 3, 60)
    model = DifficultyModel.fit(rows.vectors, random, rows.ids, classes=3)
    assert model.score(rows.vectors, random, rows.ids).mean() > 0.95 * np.log(3)


def test_refuses_what_it_cannot_fit_or_read(make_pool: Callable[..., Any], tmp_path: Path) -> None:
    rows = make_pool(60).rows
    with pytest.raises(InputError, match="1 without a label"):
        DifficultyModel.fit(rows.vectors, np.where(np.arange(60) == 3, -1, rows.labels), rows.ids)
    model = DifficultyModel.fit(rows.vectors, rows.labels, rows.ids)
    assert np.isnan(model.score(rows.vectors[:1], np.array([-1]), rows.ids[:1])).all()
    DifficultyModel(99, model.space, model.heads_DKC).save(tmp_path / "x")
    with pytest.raises(IntegrityError, match="99"):
        DifficultyModel.load(tmp_path / "x")
