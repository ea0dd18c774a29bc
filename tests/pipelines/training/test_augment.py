"""Operators in a recipe: their short names, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from curator.errors import RecipeError
from pipelines.training.augment import Colour, Cutout, Flip, Shift, WordDropout, WordSwap
from pipelines.training.presets import parse_recipe


def test_a_recipe_lists_them_in_order() -> None:
    steps = ["shift", {"kind": "cutout", "side": 0.5}, "flip", {"kind": "colour", "contrast": 0.4}]
    recipe: Any = parse_recipe({"kind": "image-classifier", "augment": steps})
    assert recipe.augment == (Shift(), Cutout(side=0.5), Flip(), Colour(contrast=0.4))
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe
    text: Any = parse_recipe(
        {"kind": "text-classifier", "augment": ["word-swap", {"kind": "word-dropout", "share": 0.3}]}
    )
    assert text.augment == (WordSwap(), WordDropout(share=0.3))


@pytest.mark.parametrize(("name", "meant"), [("none", ()), ("shift", (Shift(),)), ("shift-flip", (Shift(), Flip()))])
def test_short_names_of_whole_lists(name: str, meant: tuple[object, ...]) -> None:
    for kind in ("image-classifier", "video-classifier"):
        recipe: Any = parse_recipe({"kind": kind, "augment": name})
        assert recipe.augment == meant


@pytest.mark.parametrize(
    ("kind", "augment", "told"),
    [
        ("image-classifier", ["word-swap"], "augment.0.*'shift', 'flip', 'crop', 'colour', 'cutout'"),
        ("text-classifier", ["flip"], "augment.0.*'word-dropout', 'word-swap'"),
        ("language-model", ["word-swap"], "augment"),
        ("image-classifier", ["flip", {"kind": "crop", "min_area": 0}], "augment.1.crop.min_area.*greater than 0"),
        ("image-classifier", [{"kind": "flip", "chance": 0.5}], "augment.0.flip.chance"),
        ("text-classifier", [{"kind": "word-dropout", "share": 1.0}], "word-dropout.share.*less than 1"),
        ("image-classifier", "turn", "augment"),
    ],
)
def test_what_is_refused(kind: str, augment: Any, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        parse_recipe({"kind": kind, "augment": augment})
