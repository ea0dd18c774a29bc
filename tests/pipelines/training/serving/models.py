"""Classifiers that have learned nothing, for tests of serving: what they say does not matter, if it is the same."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import torch

from pipelines.training.checkpoint import TrainedModel
from pipelines.training.compress.scoring import run_of
from pipelines.training.model import build
from pipelines.training.tokens import encode
from pipelines.training.transformer import keys_from_lengths
from tests.pipelines.training.examples import SMALL, images, texts

__all__ = ["IMAGES", "TEXTS", "alone", "awake", "image_model", "text_model"]

TEXTS: pa.Array = pa.concat_arrays(
    [texts(21)["text"].combine_chunks().cast(pa.string()), pa.array(["", "a", "long " * 30])]
)
IMAGES: pa.Array = images(11)["image"].combine_chunks()


def text_model() -> TrainedModel:
    recipe = SMALL["text-classifier"]
    model = awake(build(recipe, 3, torch.device("cpu")))
    return TrainedModel(recipe=recipe, classes=("science", "sport", "trade"), model=model)


def image_model() -> TrainedModel:
    recipe = SMALL["image-classifier"]
    model = awake(build(recipe, 2, torch.device("cpu")))
    return TrainedModel(recipe=recipe, classes=(0, 1), model=model)


def awake(model: Any) -> Any:
    """Layers that begin as zeros, the last one and every branch's, are given noise: without it all rows score alike."""
    draws = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5, generator=draws)
    return model.eval()


def alone(trained: TrainedModel, text: str) -> torch.Tensor:
    """Probabilities of one text by itself."""
    tokens = encode(pa.array([text]), context=trained.recipe.context)  # type: ignore[union-attr]
    keys = keys_from_lengths(torch.from_numpy(tokens.lengths), tokens.ids.shape[1])
    with torch.no_grad():
        return run_of(trained.model)(torch.from_numpy(tokens.ids), keys).softmax(1)[0]
