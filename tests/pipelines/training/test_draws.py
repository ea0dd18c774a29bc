"""Numbers that belong to a row: the same beside whomever it stands, new at each step, flat, and independent."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.training.draws import Draws


def ids(number: int) -> pa.Array:
    raw = np.random.default_rng(0).integers(0, 256, (number, 16), dtype=np.uint8)
    return pa.array([row.tobytes() for row in raw], pa.binary(16))


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**40), st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_a_row_has_its_numbers_whoever_asks(seed: int, step: int, numbers: list[int]) -> None:
    rows, whole = ids(len(numbers)), Draws(seed, step, "op", ids(len(numbers)))
    each = [Draws(seed, step, "op", rows.slice(row, 1)) for row in range(len(numbers))]
    assert whole.rows("x").tolist() == [float(one.rows("x")[0]) for one in each]
    parts = [one.parts("x", np.array([number])) for one, number in zip(each, numbers, strict=True)]
    assert np.array_equal(whole.parts("x", np.array(numbers)), np.concatenate(parts))


def test_seeds_steps_operators_and_purposes_are_independent() -> None:
    rows = ids(4000)
    asked = [(0, 0, "a", "x"), (1, 0, "a", "x"), (0, 1, "a", "x"), (0, 0, "b", "x"), (0, 0, "a", "y")]
    drawn = np.stack([Draws(seed, step, operator, rows).rows(purpose) for seed, step, operator, purpose in asked])
    apart = np.corrcoef(drawn) - np.eye(len(asked))
    assert np.abs(apart).max() < 0.06
    assert np.allclose(np.quantile(drawn, [0.1, 0.5, 0.9], axis=1).T, [0.1, 0.5, 0.9], atol=0.03)


def test_the_parts_of_a_row_are_flat_and_independent() -> None:
    draws = Draws(0, 0, "a", ids(2)).parts("x", np.array([3000, 3000]))
    assert len(np.unique(draws)) == 6000 and abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.05
    assert np.allclose(np.quantile(draws, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)
