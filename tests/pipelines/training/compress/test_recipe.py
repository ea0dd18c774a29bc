"""Compression recipes: what is taken, what is refused, and that refusals name the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curator.errors import RecipeError
from pipelines.training.compress.recipe import PRESETS, Prune, load_compress_recipe, parse_compress_recipe


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_load_and_round_trip(name: str) -> None:
    recipe = load_compress_recipe(name)
    assert parse_compress_recipe(recipe.model_dump(mode="json")) == recipe
    assert parse_compress_recipe({"preset": name}).digest == recipe.digest


def test_a_file_says_what_differs_from_a_preset(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("preset: small-text\nprune: {heads: 0.5}\nseed: 7\n")
    recipe = load_compress_recipe(tmp_path / "r.yaml")
    assert recipe.prune == Prune(heads=0.5, feed_forward=0.25)
    assert recipe.distil == PRESETS["small-text"].distil and recipe.seed == 7
    (tmp_path / "n.json").write_text('{"preset": "small-text", "prune": null}')
    assert load_compress_recipe(tmp_path / "n.json").prune is None


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"quantize": {}}, "unknown key 'quantize', did you mean 'quantise'"),
        ({"distil": {"widht": 0.5}}, "unknown key 'distil.widht', did you mean 'width'"),
        ({"preset": "smal-text"}, "did you mean 'small-text'"),
        ({"distil": {}}, "no smaller"),
        ({"distil": {"width": 1.5}}, r"distil.width: .*got 1.5"),
        ({"prune": {}}, "nothing is to be taken out"),
        ({"prune": {"heads": 1.0}}, "prune.heads"),
        ({"quantise": {"stages": ["int8", "fp16"]}}, "fp16 before int8"),
        ({"export": ["onnx", "onnx"]}, "twice"),
        ({"export": ["onnx-dynamic", "onnx"]}, "name it last"),
        ({"export": []}, "does nothing"),
        (["quantise"], "not a mapping"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(value: Any, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        parse_compress_recipe(value)


def test_names_and_files_that_are_not_there() -> None:
    with pytest.raises(RecipeError, match="did you mean 'quantise'"):
        load_compress_recipe("quantize")
    with pytest.raises(RecipeError, match="cannot read"):
        load_compress_recipe("nowhere.yaml")
