"""From a recipe to a model with its first parameters: the same numbers for the same seed, on any device.

Knows recipes and the models; nothing of data, losses or checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from curator.digest import canonical_json, sha256_hex
from pipelines.training.image_model import ResidualNet
from pipelines.training.kinds import ImageClassifier, LanguageModel, TextClassifier, TrainingRecipe, VideoClassifier
from pipelines.training.sequences import stages
from pipelines.training.tokens import VOCABULARY
from pipelines.training.transformer import CausalTransformer, EncoderClassifier
from pipelines.training.video_model import Taps, VideoEncoder

__all__ = ["Model", "build", "empty", "generator", "initialise", "num_parameters"]

Model = EncoderClassifier | CausalTransformer | ResidualNet | VideoEncoder

_ZERO = ("out", "down", "head")
"""Layers that begin at zero: every residual branch starts as nothing and every class equally likely
(Zhang et al. 2019, arXiv 1901.09321, section 3)."""


def build(recipe: TrainingRecipe, num_classes: int, device: torch.device) -> Model:
    """The recipe's model on a device, with first parameters drawn from (seed, "parameters"). float32."""
    model = empty(recipe, num_classes)
    initialise(model, generator(recipe.seed, "parameters"))
    return model.to(device)


def empty(recipe: TrainingRecipe, num_classes: int) -> Model:
    """The recipe's model on the CPU, parameters unset: for a checkpoint to fill. Draws nothing."""
    with torch.device("meta"):
        model = _shape(recipe, num_classes)
    return model.to_empty(device="cpu")


def generator(seed: int, phase: str, position: int = 0) -> torch.Generator:
    """A CPU generator for one purpose at one position; the global one is never touched.

    Hashed, because PyTorch's CPU generator looks at the low 32 bits of its seed only.
    """
    return torch.Generator().manual_seed(int(sha256_hex(canonical_json([seed, phase, position]))[:8], 16))


def initialise(model: nn.Module, draws: torch.Generator) -> None:
    """First values in place: linear and convolution N(0, 1/fan-in) (He's gain of 2 for convolutions), embeddings
    N(0, 1/width), gains 1, biases and taps 0, and the layers of `_ZERO` 0."""
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            gain = 2.0 if isinstance(module, nn.Conv2d) else 1.0
            std = 0.0 if name.rsplit(".", 1)[-1] in _ZERO else (gain / module.weight[0].numel()) ** 0.5
            _fill(module.weight, std, draws)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            _fill(module.weight, module.embedding_dim**-0.5, draws)
        elif isinstance(module, (nn.RMSNorm, nn.GroupNorm)):
            nn.init.ones_(module.weight)
            if isinstance(module, nn.GroupNorm):
                nn.init.zeros_(module.bias)
        elif isinstance(module, Taps):
            nn.init.zeros_(module.weight)


def num_parameters(model: nn.Module) -> int:
    """How many numbers training changes."""
    return sum(parameter.numel() for parameter in model.parameters())


def _fill(weight: Tensor, std: float, draws: torch.Generator) -> None:
    if std:
        nn.init.normal_(weight, std=std, generator=draws)
    else:
        nn.init.zeros_(weight)


def _shape(recipe: TrainingRecipe, num_classes: int) -> Model:
    if isinstance(recipe, ImageClassifier):
        return ResidualNet(
            channels=1 if recipe.colours == "grey" else 3,
            image_size=recipe.image_size,
            width=recipe.width,
            depth=recipe.depth,
            num_classes=num_classes,
        )
    if isinstance(recipe, VideoClassifier):
        return VideoEncoder(
            channels=1 if recipe.colours == "grey" else 3,
            frames=recipe.frames,
            num_places=recipe.num_places,
            patch=recipe.patch,
            width=recipe.width,
            depth=recipe.depth,
            heads=recipe.heads,
            temporal=recipe.temporal,
            num_classes=num_classes,
        )
    if isinstance(recipe, TextClassifier):
        return EncoderClassifier(
            vocabulary=VOCABULARY,
            width=recipe.width,
            depth=recipe.depth,
            heads=recipe.heads,
            feed_forward=recipe.feed_forward,
            num_classes=num_classes,
            ngrams=recipe.ngrams,
            num_buckets=recipe.ngram_buckets,
        )
    assert isinstance(recipe, LanguageModel)
    return CausalTransformer(
        vocabulary=VOCABULARY,
        width=recipe.width,
        depth=recipe.depth,
        heads=recipe.heads,
        feed_forward=recipe.feed_forward,
        rotary=recipe.rotary,
        first_context=stages(recipe.context, recipe.growth)[0][1],
    )
