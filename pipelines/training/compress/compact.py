"""A compressed model on disk: one safetensors file of narrow weights, with recipe, classes and shape in its header.

Knows models and their stored weights; nothing of how they came to be. Weights are data: no pickle is written or read.
"""

from __future__ import annotations

import json
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from
from safetensors.torch import save as bytes_from
from torch import Tensor

from curator.errors import IntegrityError, NotFoundError
from curator.storage import Store
from pipelines.training.checkpoint import TrainedModel
from pipelines.training.classes import Label
from pipelines.training.compress.recipe import Precision
from pipelines.training.compress.structure import Shape, reshape
from pipelines.training.compress.weights import Weight, widened
from pipelines.training.kinds import ImageClassifier, TextClassifier
from pipelines.training.model import empty

__all__ = ["COMPACT", "CompactHeader", "load_compact", "packed"]

COMPACT = "compact.safetensors"
_VALUES, _SCALE = "values/", "scale/"


class CompactHeader(BaseModel):
    """The part of the file that is not tensors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    recipe: TextClassifier | ImageClassifier
    """of the model in its present width and depth, before pruning"""
    classes: tuple[Label, ...]
    shape: Shape
    plan: dict[str, Precision]


def packed(header: CompactHeader, weights: dict[str, Weight]) -> bytes:
    """The file's bytes."""
    tensors = {_VALUES + name: weight.values.contiguous() for name, weight in weights.items()}
    tensors |= {_SCALE + name: weight.scale for name, weight in weights.items() if weight.scale is not None}
    return bytes_from(tensors, metadata={"winnow": header.model_dump_json()})


def load_compact(folder: str, device: torch.device | None = None) -> TrainedModel:
    """The model as it computes: float32, on a device (the CPU), ready to `evaluate`. Raises NotFoundError,
    IntegrityError."""
    store = Store.open(folder)
    if not store.exists(COMPACT):
        raise NotFoundError(f"no {COMPACT} in {folder}; `winnow compress` writes one")
    data = store.read_bytes(COMPACT)
    try:
        tensors = tensors_from(data)
        length = int.from_bytes(data[:8], "little")
        header = CompactHeader.model_validate_json(json.loads(data[8 : 8 + length])["__metadata__"]["winnow"])
        model = empty(header.recipe, len(header.classes))
        reshape(model, header.shape)
        weights = {name: _weight(tensors, name, precision) for name, precision in header.plan.items()}
        model.load_state_dict(widened(weights))
    except (SafetensorError, KeyError, ValueError, ValidationError, RuntimeError) as error:
        raise IntegrityError(
            f"{COMPACT} in {folder} is no compressed model of this version: {error}; compress the checkpoint again"
        ) from error
    return TrainedModel(recipe=header.recipe, classes=header.classes, model=model.to(device or "cpu").eval())


def _weight(tensors: dict[str, Tensor], name: str, precision: Precision) -> Weight:
    return Weight(precision, tensors[_VALUES + name], tensors[_SCALE + name] if precision in ("int8", "int4") else None)
