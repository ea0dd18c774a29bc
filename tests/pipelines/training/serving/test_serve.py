"""Answers are those of each row by itself, in order, whatever its batch, its shape and its backend."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from curator.errors import InputError, RequestError
from pipelines.training.checkpoint import TrainedModel
from pipelines.training.compress.scoring import run_of
from pipelines.training.serving.backends import OnCpu
from pipelines.training.serving.serve import Serving
from tests.pipelines.training.examples import SMALL
from tests.pipelines.training.serving.models import IMAGES, TEXTS, alone, image_model, text_model


def test_texts_are_answered_as_each_by_itself() -> None:
    trained = text_model()
    with Serving(trained, rows=(1, 4, 8), lengths=(16, 48)) as serving:
        labels, probabilities = serving.answer(TEXTS)
    expected = torch.stack([alone(trained, text) for text in TEXTS.to_pylist()])
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert labels == [("science", "sport", "trade")[at] for at in expected.argmax(1)]
    assert probabilities.std(axis=0).min() > 0.01, "rows differ, or nothing is shown"


def test_images_are_answered_whatever_their_batch() -> None:
    with Serving(image_model(), rows=(1, 4)) as serving:
        whole = serving.answer(IMAGES)
        one_by_one = [serving.answer(IMAGES.slice(row, 1)).probabilities[0] for row in range(len(IMAGES))]
    np.testing.assert_allclose(whole.probabilities, one_by_one, atol=1e-6)
    assert len(whole.labels) == len(IMAGES) and whole.probabilities.std(axis=0).min() > 0.01


def test_a_stream_is_answered_in_order_and_read_no_further_than_needed() -> None:
    trained, read = text_model(), list[int]()

    def batches() -> Iterator[pa.Array]:
        for row in range(40):
            read.append(row)
            yield TEXTS.slice(row % 20, 3)

    with Serving(trained, rows=(1, 4), lengths=(48,)) as serving:
        stream = serving.stream(batches())
        first = next(stream)
        assert len(read) <= 12, "bounded queues"
        answers = [first, *stream]
        assert len(answers) == 40
        for row in (0, 13, 39):
            expected = serving.answer(TEXTS.slice(row % 20, 3)).probabilities
            np.testing.assert_allclose(answers[row].probabilities, expected, atol=1e-6)
        assert serving.answer(TEXTS.slice(0, 0)).labels == []


class _Slow:
    """Counts what it is given; waits until it is let go."""

    name, workers = "slow", 1

    def __init__(self, trained: TrainedModel):
        self._on_cpu, self.go, self.rows = OnCpu(run_of(trained.model)), threading.Event(), list[int]()
        self.go.set()

    def scores(self, inputs: Tensor, keys_BT: Tensor | None) -> Tensor:
        assert self.go.wait(20)
        self.rows.append(len(inputs))
        return self._on_cpu.scores(inputs, keys_BT)


def test_two_backends_share_a_stream_and_give_the_same_answers() -> None:
    trained = text_model()
    slow = _Slow(trained)
    with Serving(trained, [slow, OnCpu(run_of(trained.model))], rows=(4,), lengths=(48,)) as serving:
        assert serving.routing.costs.keys() == {"slow", "cpu"}
        slow.rows.clear()
        slow.go.clear()
        stream = serving.stream(TEXTS.slice(row, 4) for row in range(16))
        threading.Timer(0.2, slow.go.set).start()
        found = [answers.probabilities for answers in stream]
        assert 0 < len(slow.rows) < 16, "neither backend had all"
        for row, probabilities in enumerate(found):
            np.testing.assert_allclose(probabilities, serving.answer(TEXTS.slice(row, 4)).probabilities, atol=1e-6)


def test_wrong_rows_are_told_and_serving_goes_on() -> None:
    with Serving(text_model(), rows=(4,)) as serving:
        with pytest.raises(RequestError, match="1 of 2 texts are null"):
            list(serving.stream([pa.array(["a", None])]))
        assert len(serving.answer(TEXTS).labels) == len(TEXTS)
    with Serving(image_model(), rows=(4,)) as serving, pytest.raises(InputError, match="holds no image"):
        serving.answer(pa.array([b"no image"]))


def test_a_language_model_is_not_served() -> None:
    recipe = SMALL["language-model"]
    with pytest.raises(RequestError, match="language-model is not served"):
        Serving(TrainedModel(recipe=recipe, classes=None, model=None))
