"""The accounts of a job: every step looked at once and in order, counted, told of and reported back."""

from __future__ import annotations

import pyarrow as pa
import pytest
import torch

from curator.errors import RunFailedError
from pipelines.training.accounts import Accounts, Taken
from pipelines.training.clock import Clock
from pipelines.training.feed import TensorBatch
from pipelines.training.feedback import FeedbackBuffer
from pipelines.training.instruments import Instruments
from pipelines.training.model import build
from pipelines.training.precision import place
from pipelines.training.report import StepRecord, Tally
from pipelines.training.step import StepResult
from tests.pipelines.training.examples import SMALL

PLACE = place("cpu", "fp32")


def _taken(clock: Clock, step: int, losses: list[float], mean: float | None = None) -> Taken:
    names = pa.array([bytes([step, number] * 8) for number in range(len(losses))], pa.binary(16))
    batch = TensorBatch(names, torch.zeros(len(losses), 4, dtype=torch.long), torch.zeros(len(losses)), num_tokens=8)
    result = StepResult(
        torch.tensor(losses),
        None,
        torch.tensor(sum(losses) / len(losses) if mean is None else mean),
        torch.tensor(1.0),
        torch.tensor(False),
    )
    return Taken(batch, clock.launched(clock.mark(), result), epoch=0, step=step, total_steps=9, rate=0.5)


def _accounts(told: list[StepRecord], fed: list[pa.Table]) -> tuple[Accounts, Clock]:
    clock, recipe = Clock(PLACE.device), SMALL["text-classifier"]
    feedback = FeedbackBuffer(fed.append, plan="epl_1", training_job="trn_1")
    instruments = Instruments(build(recipe, 3, PLACE.device), PLACE, None)
    return Accounts(clock, feedback, instruments, tally=Tally(num_samples=5), on_step=told.append), clock


def test_steps_are_settled_in_order_and_once() -> None:
    told: list[StepRecord] = []
    fed: list[pa.Table] = []
    accounts, clock = _accounts(told, fed)
    for step in (1, 2, 3):
        accounts.add(_taken(clock, step, [1.0, 3.0]))
    accounts.settle(in_flight=1)
    assert [record.step for record in told] == [1, 2] and told[0].loss == 2.0 and told[0].learning_rate == 0.5
    accounts.settle()
    accounts.settle()
    accounts.flush()
    assert [record.step for record in told] == [1, 2, 3]
    assert fed[0]["step"].to_pylist() == [1, 1, 2, 2, 3, 3] and fed[0]["loss"].to_pylist() == [1.0, 3.0] * 3
    assert accounts.tally.num_samples == 11 and accounts.tally.num_tokens == 24
    accounts.agree()
    accounts.end_epoch()
    assert accounts.tally.losses == (2.0,) and accounts.tally.epoch_samples == 0


def test_a_row_without_a_target_is_counted_and_not_told() -> None:
    told: list[StepRecord] = []
    fed: list[pa.Table] = []
    accounts, clock = _accounts(told, fed)
    accounts.add(_taken(clock, 1, [1.0, float("nan")], mean=1.0))
    accounts.settle()
    accounts.flush()
    assert accounts.tally.num_without_target == 1 and fed[0].num_rows == 1


def test_a_loss_that_is_no_number_ends_the_job() -> None:
    accounts, clock = _accounts([], [])
    accounts.add(_taken(clock, 4, [float("inf")]))
    with pytest.raises(RunFailedError, match="loss of step 4 is inf"):
        accounts.settle()
