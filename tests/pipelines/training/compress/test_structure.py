"""Units taken out: what is left computes the same as the whole model with them masked."""

from __future__ import annotations

import pytest
import torch

from curator.errors import RequestError
from pipelines.training.compress.prune import masked
from pipelines.training.compress.scoring import run_of
from pipelines.training.compress.structure import kept_only, layers, reshape, shape_of, taken_out
from pipelines.training.kinds import ImageClassifier, TextClassifier, TrainingRecipe
from pipelines.training.model import build, empty

RECIPES: dict[str, TrainingRecipe] = {
    "swiglu": TextClassifier(width=48, depth=2, heads=6, context=32, ngram_buckets=64),
    "gelu": TextClassifier(width=48, depth=2, heads=6, context=32, ngram_buckets=64, feed_forward="gelu"),
    "image": ImageClassifier(image_size=8, width=24, depth=2),
}


def random_model(recipe: TrainingRecipe):  # type: ignore[no-untyped-def]
    model, draws = build(recipe, 3, torch.device("cpu")), torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=draws)
    return model.eval()


def random_inputs(recipe: TrainingRecipe):  # type: ignore[no-untyped-def]
    draws = torch.Generator().manual_seed(2)
    if isinstance(recipe, ImageClassifier):
        return torch.randn(5, 3, 8, 8, generator=draws), None
    keys_BT = torch.arange(20) < torch.tensor([20, 3, 11, 7, 20])[:, None]
    return torch.randint(0, 256, (5, 20), generator=draws), keys_BT


@pytest.mark.parametrize("kind", sorted(RECIPES))
@pytest.mark.parametrize("seed", range(3))
def test_sliced_is_masked(kind: str, seed: int) -> None:
    model, inputs = random_model(RECIPES[kind]), random_inputs(RECIPES[kind])
    draws, kept, masks = torch.Generator().manual_seed(seed), {}, {}
    for layer in layers(model):
        order = torch.randperm(layer.num_units, generator=draws)
        kept[layer.name] = order[: max(layer.num_units // 2, 1)].sort().values
        masks[layer.name] = torch.zeros(layer.num_units).index_fill(0, kept[layer.name], 1.0)
    with torch.no_grad():
        whole = run_of(model)(*inputs)
        with masked(model, masks):
            expected = run_of(model)(*inputs)
        kept_only(model, kept)
        found = run_of(model)(*inputs)
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max().clamp(min=1)
    assert (whole - expected).abs().max() > 1e-2  # the units did something
    assert shape_of(model) == {name: len(units) for name, units in kept.items()}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_shape_is_made_again_and_another_models_is_refused() -> None:
    model = random_model(RECIPES["swiglu"])
    kept_only(model, {"blocks.0.heads": torch.tensor([4]), "blocks.1.feed_forward": torch.arange(9)})
    again = empty(RECIPES["swiglu"], 3)
    reshape(again, shape_of(model))
    again.load_state_dict(model.state_dict())
    inputs = random_inputs(RECIPES["swiglu"])
    assert torch.equal(run_of(again.eval())(*inputs), run_of(model)(*inputs))
    with pytest.raises(RequestError, match="of another model"):
        reshape(empty(RECIPES["image"], 3), shape_of(model))
    with pytest.raises(RequestError, match="of another model"):
        reshape(empty(RECIPES["swiglu"], 3), {**shape_of(model), "blocks.0.heads": 7})


def test_what_is_taken_out_in_words() -> None:
    before = {"blocks.0.heads": 4, "blocks.1.heads": 4, "blocks.0.feed_forward": 8}
    assert taken_out(before, {**before, "blocks.1.heads": 1}) == "3 of 8 heads taken out"
