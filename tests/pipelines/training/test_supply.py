"""The supply: the same batches however it is entered, each with the place that everything after it begins at."""

from __future__ import annotations

from contextlib import closing

import pytest
import torch

from pipelines.training.classes import ClassTable
from pipelines.training.course import Course, is_packed
from pipelines.training.kinds import LanguageModel, TrainingRecipe
from pipelines.training.precision import place
from pipelines.training.rows import TableRows
from pipelines.training.sequences import Growth, Packed
from pipelines.training.supply import Place, Supplied, Supply
from tests.pipelines.training.examples import SMALL, table_for

PACKED = LanguageModel(
    width=16,
    depth=1,
    heads=2,
    context=32,
    layout=Packed(tokens_per_step=64, open_sequences=2),
    growth=(Growth(context=16, until=0.5),),
    epochs=2,
    global_batch_size=4,
)
CASES: dict[str, TrainingRecipe] = {**SMALL, "packed": PACKED}


def _supply(recipe: TrainingRecipe) -> Supply:
    rows = TableRows(table_for(recipe, 30), seed=0, global_batch_size=recipe.global_batch_size)
    classes = {
        "text-classifier": ClassTable(("science", "sport", "trade")),
        "image-classifier": ClassTable((0, 1)),
        "video-classifier": ClassTable((0, 1)),
    }
    course = Course(num_batches=2 * rows.num_batches(0), packed=is_packed(recipe))
    return Supply(rows, recipe, classes.get(recipe.kind), course, place("cpu", "fp32"))


def _epochs(recipe: TrainingRecipe) -> list[list[Supplied]]:
    supply, out, step, where = _supply(recipe), [], 0, Place()
    for epoch in range(2):
        with closing(supply.epoch(epoch, step, where)) as batches:
            out.append(list(batches))
        step, where = step + len(out[-1]), Place(num_read=out[-1][-1].place.num_read)
    return out


@pytest.mark.parametrize("name", list(CASES))
def test_entered_after_any_batch_the_rest_is_the_same(name: str) -> None:
    whole, done = _epochs(CASES[name]), 0
    assert all(len(batches) > 1 for batches in whole)
    for epoch, batches in enumerate(whole):
        for number, supplied in enumerate(batches):
            with closing(_supply(CASES[name]).epoch(epoch, done + number + 1, supplied.place)) as rest:
                again = list(rest)
            assert len(again) == len(batches) - number - 1
            for ours, theirs in zip(again, batches[number + 1 :], strict=True):
                assert torch.equal(ours.batch.inputs, theirs.batch.inputs)
                assert torch.equal(ours.batch.targets, theirs.batch.targets)
                assert ours.batch.sample_ids == theirs.batch.sample_ids and ours.batch.context == theirs.batch.context
                assert ours.place.cursor == theirs.place.cursor and ours.place.num_read == theirs.place.num_read
        done += len(batches)


def test_a_packed_epoch_holds_its_rows_alone_and_contexts_do_not_mix() -> None:
    first, second = _epochs(PACKED)
    assert {batch.batch.context for batch in first} == {16}
    assert {batch.batch.context for batch in second} == {32}
    for batches in (first, second):
        names = {name for supplied in batches for name in supplied.batch.sample_ids.to_pylist()}
        assert len(names) == 30
    assert first[-1].place.num_read == 8 and second[-1].place.num_read == 16


def test_a_batch_on_the_cpu_is_there_at_once() -> None:
    [first, *_] = _epochs(PACKED)[0]
    assert first.copied is None and first.on_device() is first.batch
