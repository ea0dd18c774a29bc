"""Self-corruption finds errors it was never shown, systematic too, and is silent where there is nothing to learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from agents.corruption import _confusable
from agents.gate import average_precision
from agents.student import Desk


def laid(pool: Any, classes: int) -> tuple[Desk, np.ndarray]:
    order = np.argsort([row.tobytes() for row in pool.rows.ids])
    return Desk.lay(pool.rows.take(order), classes, can_relabel=True, seed=0), pool.bad[order]


def odds_of(desk: Desk) -> np.ndarray:
    return desk.corruption.log_odds(desk.given.features_of(desk.chunks, desk.near)).double().numpy()


@pytest.mark.parametrize("systematic", [False, True])
def test_it_ranks_wrong_labels_above_the_model_that_sees_them(make_pool: Callable[..., Any], systematic: bool) -> None:
    ahead = []
    for seed in range(3):
        desk, bad = laid(make_pool(1_200, 4, systematic=systematic, seed=seed), 4)
        own = torch.gather(desk.given.log_probs_NC, 1, desk.given.labels_N[:, None]).squeeze(1)
        ahead.append(average_precision(odds_of(desk), bad) - average_precision(-own.double().numpy(), bad))
    assert np.mean(ahead) > 0


def test_flips_go_where_labels_are_confused_and_never_to_the_label_itself(make_pool: Callable[..., Any]) -> None:
    desk, _ = laid(make_pool(1_200, 4, seed=1), 4)
    labels, draws = desk.given.labels_N, np.random.default_rng(0).random(1_200)
    for wrong in (_confusable(desk.given, draws), _confusable(desk.given, np.zeros(1_200))):
        assert (wrong != labels).all() and wrong.min() >= 0 and wrong.max() < 4
    wrong = _confusable(desk.given, draws)
    for label in range(4):
        mine = labels == label
        mistaken = desk.given.log_probs_NC[mine].exp().sum(0)
        mistaken[label] = 0
        assert int(wrong[mine].bincount(minlength=4).argmax()) == int(mistaken.argmax())


@pytest.mark.parametrize("code", [0, 1])
def test_one_label_alone_scores_all_rows_alike(make_pool: Callable[..., Any], code: int) -> None:
    pool = make_pool(200, 2)
    desk = Desk.lay(pool.rows.relabelled(np.full(200, code)), 2, can_relabel=False, seed=0)
    assert not desk.corruption.weights_F.any() and np.ptp(odds_of(desk)) == 0
