"""Chunked cross-entropy against the plain twin: values, gradients, half precision."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.training.loss import (
    IGNORE,
    chunk_slopes,
    chunked_cross_entropy,
    document_means,
    plain_cross_entropy,
    row_means,
)


def _case(seed: int, positions: int = 37, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    draws = torch.Generator().manual_seed(seed)
    hidden, weight = (
        torch.randn(rows, 12, generator=draws, dtype=torch.float64).to(dtype).requires_grad_()
        for rows in (positions, 29)
    )
    targets = torch.randint(0, 29, (positions,), generator=draws)
    targets[torch.rand(positions, generator=draws) < 0.3] = IGNORE
    targets[0] = 3
    return hidden, weight, targets


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), chunk=st.integers(1, 50))
def test_chunked_equals_plain_with_gradients(seed: int, chunk: int) -> None:
    ours, theirs = _case(seed), _case(seed)
    mean, each = chunked_cross_entropy(*ours, chunk=chunk)
    plain_mean, plain_each = plain_cross_entropy(*theirs)
    torch.testing.assert_close(mean, plain_mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(each, plain_each, rtol=1e-12, atol=1e-12)
    (mean * 3.0).backward()
    (plain_mean * 3.0).backward()
    for a, b in zip(ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-11, atol=1e-13)
    assert not each.requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_products_stay_near(dtype: torch.dtype) -> None:
    exact, near = _case(1), _case(1, dtype=torch.float32)
    plain_mean, _ = plain_cross_entropy(*exact)
    with torch.autocast("cpu", dtype=dtype):
        mean, each = chunked_cross_entropy(*near, chunk=8)
    assert each.dtype == torch.float32
    plain_mean.backward()
    mean.backward()
    assert mean.item() == pytest.approx(plain_mean.item(), rel=2e-2)
    for a, b in zip(near[:2], exact[:2], strict=True):
        assert a.grad is not None and b.grad is not None and a.grad.dtype == torch.float32
        assert float((a.grad.double() - b.grad).norm() / b.grad.norm()) < 2e-2


def test_tiny_gradients_survive_float16() -> None:
    """A mean over many positions divides by more than float16 can hold; the division is done last, in float32."""
    hidden, weight, targets = _case(2, positions=6000, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.float16):
        mean, _ = chunked_cross_entropy(hidden, weight, targets)
    (mean * 1024).backward()
    exact_hidden, exact_weight, _ = _case(2, positions=6000, dtype=torch.float32)
    (plain_cross_entropy(exact_hidden, exact_weight, targets)[0] * 1024).backward()
    assert hidden.grad is not None and exact_hidden.grad is not None
    assert float((hidden.grad - exact_hidden.grad).norm() / exact_hidden.grad.norm()) < 1e-2


def test_without_learning_the_values_are_the_same() -> None:
    hidden, weight, targets = _case(4)
    with torch.no_grad():
        mean, each = chunked_cross_entropy(hidden, weight, targets, chunk=7)
    plain_mean, plain_each = plain_cross_entropy(hidden, weight, targets)
    torch.testing.assert_close(mean, plain_mean.detach())
    torch.testing.assert_close(each, plain_each)


def test_a_part_without_targets_has_no_loss_and_no_slope() -> None:
    hidden, weight, targets = _case(3)
    mean, each = chunked_cross_entropy(hidden, weight, torch.full_like(targets, IGNORE))
    mean.backward()
    assert mean == 0 and not each.any() and weight.grad is not None and not weight.grad.any()


def test_row_means_leave_padding_out() -> None:
    losses = torch.tensor([[1.0, 3.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    targets = torch.tensor([[5, 6, IGNORE], [7, IGNORE, IGNORE], [IGNORE, IGNORE, IGNORE]])
    means = row_means(losses, targets).tolist()
    assert means[:2] == [2.0, 2.0] and math.isnan(means[2])


def test_document_means_are_those_of_rows_laid_end_to_end() -> None:
    losses = torch.tensor([[1.0, 3.0, 5.0, 0.0], [2.0, 4.0, 0.0, 0.0]])
    targets = torch.tensor([[5, 6, 7, IGNORE], [7, 8, IGNORE, IGNORE]])
    documents = torch.tensor([[0, 0, 1, 0], [2, 2, 2, 0]])
    assert document_means(losses, targets, documents, 3).tolist() == [2.0, 5.0, 3.0]
    assert math.isnan(document_means(losses, targets, documents, 4)[3])


@pytest.mark.parametrize("rows", [1, 5])
def test_slopes_are_autograds(rows: int) -> None:
    draws = torch.Generator().manual_seed(5)
    logits = (torch.randn(rows, 11, generator=draws, dtype=torch.float64) * 40).requires_grad_()
    targets = torch.randint(0, 11, (rows,), generator=draws)
    targets[-1] = IGNORE
    losses, slopes = chunk_slopes(logits.detach(), targets)
    wanted = torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="none")
    wanted.sum().backward()
    torch.testing.assert_close(losses, wanted.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slopes, logits.grad, rtol=1e-12, atol=1e-14)
    assert not slopes[-1].any() and losses[-1] == 0


def test_a_dtype_may_be_asked_for() -> None:
    hidden, weight, targets = _case(6, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        exact, _ = chunked_cross_entropy(hidden, weight, targets, dtype=torch.float32)
        rough, _ = chunked_cross_entropy(hidden, weight, targets)
    plain, _ = plain_cross_entropy(hidden, weight, targets)
    assert exact.item() == pytest.approx(plain.item(), rel=1e-6) and rough.item() != exact.item()
