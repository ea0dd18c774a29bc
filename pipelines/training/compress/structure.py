"""What can be taken out of a block: attention heads and feed-forward units, or groups of inner channels; and how.

Knows the models' layers; nothing of which units matter or of data. A unit is taken out physically: the projection that
makes it and the one that reads it lose its rows and columns, so what is left computes the same as with it masked to 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from curator.errors import RequestError
from pipelines.training.image_model import GROUP
from pipelines.training.model import Model
from pipelines.training.transformer import EncoderClassifier

__all__ = ["Family", "Layer", "Shape", "kept_only", "layers", "reshape", "shape_of", "taken_out"]

Family = Literal["heads", "feed_forward", "channels"]
_WORDS: Final[dict[Family, str]] = {
    "heads": "heads",
    "feed_forward": "feed-forward units",
    "channels": "channel groups",
}
Shape = dict[str, int]
"""How many units each layer has, by `Layer.name`."""


class Layer(NamedTuple):
    """The units of one family in one block, in the order in which `reader` reads them."""

    name: str
    """as `blocks.0.heads`"""
    family: Family
    block: Any
    reader: nn.Module
    """the projection whose inputs the units are"""
    num_units: int
    width: int
    """inputs of the reader for each unit, side by side"""


def layers(model: Model) -> Iterator[Layer]:
    """Everything that can be taken out of a classifier, block by block."""
    blocks: Any = model.blocks
    for index, block in enumerate(blocks):
        name = f"blocks.{index}"
        if isinstance(model, EncoderClassifier):
            head = block.out.in_features // block.heads
            yield Layer(f"{name}.heads", "heads", block, block.out, block.heads, head)
            yield Layer(
                f"{name}.feed_forward", "feed_forward", block, block.mixer.down, block.mixer.down.in_features, 1
            )
        else:
            yield Layer(f"{name}.channels", "channels", block, block.out, block.out.in_channels // GROUP, GROUP)


def shape_of(model: Model) -> Shape:
    return {layer.name: layer.num_units for layer in layers(model)}


def taken_out(before: Shape, after: Shape) -> str:
    """In words, as `3 of 8 heads`."""
    found = []
    for family in get_args(Family):
        own = [name for name in before if name.endswith(f".{family}")]
        total, left = sum(before[name] for name in own), sum(after[name] for name in own)
        if left < total:
            found.append(f"{total - left} of {total} {_WORDS[family]}")
    return ", ".join(found) + " taken out"


def kept_only(model: Model, kept: Mapping[str, Tensor]) -> None:
    """Takes out, in place, all units but the `kept` (int64 indices, at least one) of the layers named."""
    for layer in list(layers(model)):
        units = kept.get(layer.name)
        if units is None or len(units) == layer.num_units:
            continue
        places = (units[:, None] * layer.width + torch.arange(layer.width)).flatten()
        if layer.family == "heads":
            _keep_heads(layer.block, places, len(units))
        elif layer.family == "feed_forward":
            _keep_feed_forward(layer.block.mixer, places)
        else:
            _keep_channels(layer.block, places)


def reshape(model: Model, shape: Shape) -> None:
    """Brings a model whose parameters don't matter yet to a stored shape, in place. Raises RequestError."""
    here = shape_of(model)
    if set(shape) != set(here) or any(not 1 <= shape[name] <= here[name] for name in here):
        raise RequestError(f"a shape of {shape} cannot be cut from a model with {here}: it is of another model")
    kept_only(model, {name: torch.arange(number) for name, number in shape.items()})


def _keep_heads(block: Any, places: Tensor, num_heads: int) -> None:
    inner = block.out.in_features
    block.qkv = _rows(block.qkv, torch.cat([places, inner + places, 2 * inner + places]))
    block.out, block.heads = _columns(block.out, places), num_heads


def _keep_feed_forward(mixer: Any, places: Tensor) -> None:
    inner = mixer.down.in_features
    mixer.up = _rows(mixer.up, places if mixer.kind == "gelu" else torch.cat([places, inner + places]))
    mixer.down = _columns(mixer.down, places)


def _keep_channels(block: Any, places: Tensor) -> None:
    """Whole groups of a group normalisation go, so that what is left is normalised as before."""
    norm = nn.GroupNorm(len(places) // GROUP, len(places), eps=block.norm_2.eps)
    norm.weight, norm.bias = _taken(block.norm_2.weight, places), _taken(block.norm_2.bias, places)
    block.conv, block.norm_2, block.out = _rows(block.conv, places), norm, _columns(block.out, places)


def _rows(layer: Any, places: Tensor) -> Any:
    """The layer with these outputs alone; ours have no bias."""
    assert layer.bias is None, "projections of a block have no bias"
    return _resized(layer, _taken(layer.weight, places))


def _columns(layer: Any, places: Tensor) -> Any:
    """The layer with these inputs alone."""
    return _resized(layer, _taken(layer.weight, places, dim=1))


def _resized(layer: Any, weight: nn.Parameter) -> Any:
    outputs, inputs = weight.shape[:2]
    with torch.device("meta"):
        if isinstance(layer, nn.Linear):
            made: Any = nn.Linear(inputs, outputs, bias=False)
        else:
            made = nn.Conv2d(inputs, outputs, layer.kernel_size, stride=layer.stride, padding=layer.padding, bias=False)
    made.weight = weight
    return made.train(layer.training)


def _taken(weight: Tensor, places: Tensor, dim: int = 0) -> nn.Parameter:
    return nn.Parameter(weight.detach().index_select(dim, places.to(weight.device)).clone())
