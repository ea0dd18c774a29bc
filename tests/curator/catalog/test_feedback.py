"""Feedback: of all rows ever sent for one (job, epoch, sample), one counts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curator.catalog import Catalog, Receipt
from curator.errors import ConflictError, NotFoundError, RequestError

_names = itertools.count()


def sample(number: int) -> bytes:
    return number.to_bytes(16, "big")


def send(
    catalog: Catalog, job: str, rows: Sequence[tuple[int, int]], *, digest: str | None = None, tenant: str = "local"
) -> Receipt:
    """Rows are (epoch, sample number)."""
    digest = digest or f"digest-{next(_names)}"
    epochs = np.array([epoch for epoch, _ in rows], np.int64)
    ids = [sample(number) for _, number in rows]
    return catalog.feedback.accept(tenant, job, digest=digest, path=f"fb/{digest}", sample_ids=ids, epochs=epochs)


@pytest.fixture
def job(catalog: Catalog) -> str:
    return catalog.jobs.create("local", "external", plan=None, spec={}).id


def test_a_row_counts_once_an_epoch(catalog: Catalog, job: str) -> None:
    assert send(catalog, job, [(0, 1), (0, 2), (1, 1), (0, 1)]).accepted == 3
    assert send(catalog, job, [(0, 2), (1, 2)]).accepted == 1
    first, second = catalog.feedback.batches("local", job)
    assert first.counts().tolist() == [True, True, True, False]
    assert second.counts().tolist() == [False, True]
    assert catalog.feedback.batches("local", job, after=first.number) == [second]


def test_the_same_batch_again_gives_the_same_receipt(catalog: Catalog, job: str) -> None:
    first = send(catalog, job, [(0, 1), (0, 2)], digest="d")
    assert send(catalog, job, [(0, 1), (0, 2)], digest="d") == first == Receipt(digest="d", rows=2, accepted=2)
    assert len(catalog.feedback.batches("local", job)) == 1


def test_jobs_do_not_share_samples(catalog: Catalog, job: str) -> None:
    other = catalog.jobs.create("local", "external", plan=None, spec={}).id
    assert send(catalog, job, [(0, 1)], digest="d").accepted == 1
    assert send(catalog, other, [(0, 1)], digest="d").accepted == 1


def test_feedback_is_bound_to_the_jobs_tenant(catalog: Catalog, job: str) -> None:
    other = catalog.keys.tenant("other").id
    with pytest.raises(NotFoundError):
        send(catalog, job, [(0, 1)], tenant=other)
    with pytest.raises(NotFoundError):
        catalog.feedback.batches(other, job)
    assert send(catalog, job, [(0, 1)]).accepted == 1


@pytest.mark.parametrize(
    ("ids", "epochs", "said"),
    [
        ([], [], "0 ids"),
        ([sample(1)], [0, 1], "1 ids and 2 epochs"),
        ([sample(1), b"short"], [0, 0], "row 1"),
        ([sample(1), sample(2)], [0, -1], "row 1: epoch -1"),
        ([sample(1)] * 100_001, [0] * 100_001, "100001 ids"),
    ],
)
def test_what_is_no_batch_is_refused(
    catalog: Catalog, job: str, ids: list[bytes], epochs: list[int], said: str
) -> None:
    with pytest.raises(RequestError, match=said):
        catalog.feedback.accept("local", job, digest="d", path="p", sample_ids=ids, epochs=np.array(epochs, np.int64))
    assert catalog.feedback.batches("local", job) == []


def test_a_batch_larger_than_a_statements_parameters(catalog: Catalog, job: str) -> None:
    rows = [(0, number) for number in range(12_000)]
    assert send(catalog, job, rows).accepted == 12_000
    assert send(catalog, job, [*rows[::-1], (0, 12_000)]).accepted == 1


@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6)), min_size=1, max_size=8), max_size=6))
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_agrees_with_a_set(catalog: Catalog, batches: list[list[tuple[int, int]]]) -> None:
    job = catalog.jobs.create("local", "external", plan=None, spec={}).id
    seen: set[tuple[int, int]] = set()
    for number, rows in enumerate(batches):
        expected = []
        for row in rows:
            expected.append(row not in seen)
            seen.add(row)
        receipt = send(catalog, job, rows, digest=str(number))
        assert receipt.accepted == sum(expected)
        assert catalog.feedback.batches("local", job)[-1].counts().tolist() == expected


def test_an_epochs_losses_count_once(catalog: Catalog) -> None:
    job = catalog.jobs.create("local", "external", plan=None, spec={}).id
    losses = {"easy": 1.0, "medium": None, "hard": 2.5}
    assert catalog.feedback.accept_losses("local", job, 3, losses)
    assert not catalog.feedback.accept_losses("local", job, 3, losses)
    with pytest.raises(ConflictError, match="epoch 3"):
        catalog.feedback.accept_losses("local", job, 3, {**losses, "easy": 2.0})
    assert catalog.feedback.losses("local", job) == {3: losses}
    other = catalog.keys.tenant("other").id
    with pytest.raises(NotFoundError):
        catalog.feedback.accept_losses(other, job, 3, losses)
