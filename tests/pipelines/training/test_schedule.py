"""The learning rate: rises to the top, falls to a tenth, is never idle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.training.kinds import Optimiser
from pipelines.training.schedule import FLOOR, learning_rate


def test_shape() -> None:
    spec = Optimiser(learning_rate=0.5, warmup=0.1)
    rates = [learning_rate(step, 100, spec) for step in range(100)]
    assert rates[0] == pytest.approx(0.05) and rates[9] == pytest.approx(0.5) and rates[10] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.5 * FLOOR)
    assert rates[10 + 45] == pytest.approx((rates[10] + rates[-1]) / 2, rel=2e-2)


@given(total=st.integers(1, 500), warmup=st.floats(0, 0.99), share=st.floats(0, 1, exclude_max=True))
def test_always_positive_and_at_most_the_top(total: int, warmup: float, share: float) -> None:
    rate = learning_rate(int(share * total), total, Optimiser(learning_rate=0.1, warmup=warmup))
    assert 0 < rate <= 0.1 + 1e-12


def test_outside_the_job_is_refused() -> None:
    with pytest.raises(ValueError, match="step 10 is outside the 10 steps"):
        learning_rate(10, 10, Optimiser())
