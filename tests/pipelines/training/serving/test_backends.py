"""CUDA graphs give the model's scores. Exports are served in `compress/test_export.py`, where some are made."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipelines.training.compress.scoring import run_of
from pipelines.training.serving.backends import OnCpu, OnGpu
from pipelines.training.serving.serve import Serving
from tests.pipelines.training.serving.models import IMAGES, TEXTS, image_model, text_model


def test_scores_are_float32_without_a_gradient() -> None:
    found = OnCpu(run_of(text_model().model)).scores(torch.ones(2, 16, dtype=torch.int64), None)
    assert found.dtype == torch.float32 and not found.requires_grad


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
@pytest.mark.parametrize("compiled", [False, True])
def test_a_gpu_answers_as_the_cpu_does(compiled: bool) -> None:
    for trained, content in ((text_model(), TEXTS), (image_model(), IMAGES)):
        with Serving(trained, rows=(1, 8)) as cpu:
            expected = cpu.answer(content).probabilities
        on_gpu = OnGpu(trained.model, compiled=compiled)
        with Serving(trained, [on_gpu], rows=(1, 8)) as gpu:
            for answers in gpu.stream([content] * 6):
                np.testing.assert_allclose(answers.probabilities, expected, atol=5e-3)
            one = gpu.answer(content.slice(1, 1)).probabilities
            np.testing.assert_allclose(one, expected[1:2], atol=5e-3)
