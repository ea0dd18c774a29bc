"""Heads found by bounded Newton steps are the optimum that a patient solver finds, and know nothing of their fold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from agents.determinism import fold_of, id_uniform, one_thread
from agents.proxy.heads import fit_heads, fold_masks, head_log_probs, with_bias
from agents.proxy.neighbours import Reference, unit


def problem(n: int = 300, d: int = 8, classes: int = 3) -> tuple[torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, n)
    x = rng.normal(size=(n, d)).astype(np.float32) + 0.8 * np.eye(classes, d, dtype=np.float32)[y]
    return torch.from_numpy(x), y


@pytest.mark.parametrize("l2", [1e-1, 1e-2, 1e-3])
def test_agrees_with_scikit_learn(l2: float) -> None:
    x, y = problem()
    slow = LogisticRegression(C=1 / (2 * l2 * len(y)), max_iter=5_000, tol=1e-8).fit(x.numpy(), y).predict_log_proba(x)
    with one_thread():
        targets = torch.eye(3)[y][:, None]
        heads = fit_heads(with_bias(x), targets, torch.ones(len(y), 1), (l2,), steps=500)
        fast = head_log_probs(with_bias(x), heads, torch.zeros(len(y), dtype=torch.int64))[:, 0]
    assert np.abs(fast.numpy() - slow).max() < 0.02


def test_a_fold_head_does_not_know_its_fold() -> None:
    x, y = problem()
    folds = np.arange(len(y)) % 5
    other = np.where(folds == 2, (y + 1) % 3, y)
    with one_thread():
        one, two = (
            fit_heads(with_bias(x), torch.eye(3)[labels][:, None], fold_masks(folds, 5), (1e-2,))
            for labels in (y, other)
        )
    assert torch.equal(one[:, :, 2], two[:, :, 2])
    assert not torch.allclose(one[:, :, 1], two[:, :, 1], atol=1e-2)


def test_soft_targets_and_weights_count() -> None:
    x, y = problem()
    with one_thread():
        hard = torch.eye(3)[y]
        twice = fit_heads(
            with_bias(torch.cat([x, x[:50]])), torch.cat([hard, hard[:50]])[:, None], torch.ones(350, 1), (1e-2,)
        )
        weights = torch.ones(300, 1)
        weights[:50] = 2.0
        weighted = fit_heads(with_bias(x), hard[:, None], weights, (1e-2,))
    assert torch.allclose(twice, weighted, atol=5e-3)


def test_neighbours_leave_the_row_itself_out() -> None:
    rng = np.random.default_rng(0)
    vectors = unit(torch.from_numpy(rng.normal(size=(40, 6)).astype(np.float32)))
    ids = np.sort(rng.integers(0, 256, 40).astype(np.uint8))[:, None].repeat(16, 1)
    ids[:, 15] = np.arange(40)
    reference = Reference(vectors, torch.from_numpy(ids))
    keys = ids.view("S16").reshape(-1)
    found = reference.nearest(vectors, keys, 5)
    slow = (vectors @ vectors.T).numpy()
    np.fill_diagonal(slow, -np.inf)
    assert np.array_equal(found.index_BJ.numpy(), np.argsort(-slow, axis=1)[:, :5])
    strangers = reference.nearest(vectors, np.zeros(40, "S16"), 1)
    assert np.array_equal(strangers.index_BJ.squeeze(1).numpy(), np.arange(40))


def test_folds_and_draws_are_uniform_and_independent() -> None:
    ids = np.random.default_rng(0).integers(0, 256, (20_000, 16)).astype(np.uint8)
    folds = fold_of(ids, 3)
    assert np.abs(np.bincount(folds, minlength=5) / 4_000 - 1).max() < 0.06
    draws = [id_uniform(ids, 3, "role"), id_uniform(ids, 3, "flip"), id_uniform(ids, 4, "role")]
    assert np.abs(np.corrcoef(draws)[np.triu_indices(3, 1)]).max() < 0.03
    assert np.array_equal(id_uniform(ids[5:9], 3, "role"), draws[0][5:9])


def test_one_thread_is_undone_even_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), one_thread():
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == before
