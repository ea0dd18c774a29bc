"""The course: rates and contexts by place, the same from wherever the question is asked."""

from __future__ import annotations

from pipelines.training.course import Course, in_blocks
from pipelines.training.kinds import LanguageModel, Optimiser, TextClassifier
from pipelines.training.schedule import learning_rate
from pipelines.training.sequences import Growth, Packed, stages

GROWING = LanguageModel(
    context=64,
    layout=Packed(tokens_per_step=128),
    growth=(Growth(context=16, until=0.25), Growth(context=32, until=0.5)),
    optimiser=Optimiser(warmup=0.1),
)


def test_padded_steps_are_batches() -> None:
    course, recipe = Course(num_batches=20), TextClassifier()
    assert [course.rate(step, step + 1, recipe) for step in range(20)] == [
        learning_rate(step, 20, recipe.optimiser) for step in range(20)
    ]
    assert course.total_steps(3, 3) == 20 and Course(num_batches=20, limit=7).total_steps(3, 3) == 7
    assert Course(num_batches=20, limit=99).total_steps(0, 0) == 20


def test_packed_rates_follow_the_rows_read() -> None:
    course = Course(num_batches=20, packed=True)
    assert course.rate(0, 1, GROWING) == learning_rate(0, 20, GROWING.optimiser)
    assert course.rate(500, 20, GROWING) == learning_rate(19, 20, GROWING.optimiser)
    assert course.rate(7, 5, GROWING) == course.rate(8, 5, GROWING)
    limited = Course(num_batches=20, limit=10, packed=True)
    assert limited.rate(9, 3, GROWING) == learning_rate(9, 10, GROWING.optimiser)


def test_contexts_begin_at_their_share() -> None:
    assert stages(GROWING.context, GROWING.growth) == ((0.0, 16), (0.25, 32), (0.5, 64))
    course = Course(num_batches=20, packed=True)
    assert [course.context(0, read, GROWING) for read in (0, 4, 5, 9, 10, 19, 20)] == [16, 16, 32, 32, 64, 64, 64]
    limited = Course(num_batches=20, limit=8, packed=True)
    assert [limited.context(step, 1, GROWING) for step in (0, 1, 2, 4, 7)] == [16, 16, 32, 64, 64]


def test_the_guess_of_steps_becomes_exact() -> None:
    course = Course(num_batches=20, packed=True)
    assert course.total_steps(0, 0) == 20
    assert course.total_steps(5, 10) == 10 and course.total_steps(11, 20) == 11
    assert Course(num_batches=20, limit=6, packed=True).total_steps(5, 10) == 6


def test_a_compiled_packed_job_of_whole_blocks_is_in_blocks() -> None:
    whole = LanguageModel(context=256, layout=Packed(tokens_per_step=512), compile=True)
    growing = whole.model_copy(update={"growth": (Growth(context=64, until=0.5),)})
    assert in_blocks(whole)
    for other in (whole.model_copy(update={"compile": False}), growing, LanguageModel(context=256, compile=True)):
        assert not in_blocks(other)
    assert not in_blocks(TextClassifier(compile=True))
