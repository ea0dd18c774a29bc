"""Recipes by name and by file, and complaints a person can act on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from curator.errors import RecipeError
from pipelines.training.kinds import ImageClassifier, LanguageModel, TextClassifier, VideoClassifier
from pipelines.training.presets import PRESETS, parse_recipe, preset_names
from pipelines.training.recipe import load_training_recipe


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_round_trips_and_keeps_its_digest(name: str) -> None:
    recipe = load_training_recipe(name)
    again = parse_recipe(json.loads(recipe.model_dump_json()))
    assert again == recipe and again.digest == recipe.digest and type(again) is type(recipe)


def test_every_kind_is_a_preset() -> None:
    kinds = {
        "text-classifier": TextClassifier,
        "image-classifier": ImageClassifier,
        "video-classifier": VideoClassifier,
        "language-model": LanguageModel,
    }
    assert {name: type(PRESETS[name]) for name in kinds} == kinds


def test_files_and_plain_values_agree(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: text-classifier\ncolumns: {text: body}\ncurriculum: constant\nepochs: 3\n")
    (tmp_path / "a.json").write_text(
        json.dumps(
            {"kind": "text-classifier", "columns": {"text": "body"}, "curriculum": {"kind": "constant"}, "epochs": 3}
        )
    )
    ours, theirs = load_training_recipe(tmp_path / "a.yaml"), load_training_recipe(tmp_path / "a.json")
    assert ours == theirs and ours.digest == theirs.digest and ours.columns.label == "label"


def test_a_preset_is_filled_in_key_by_key() -> None:
    recipe = parse_recipe({"preset": "digits", "columns": {"label": "digit"}, "optimiser": {"weight_decay": 0.5}})
    assert isinstance(recipe, ImageClassifier) and recipe.image_size == 8
    assert recipe.columns.label == "digit" and recipe.columns.image == "image"
    assert recipe.optimiser.weight_decay == 0.5
    assert recipe.optimiser.learning_rate == PRESETS["digits"].optimiser.learning_rate


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (["kind"], "holds list, not a mapping"),
        ({}, "`kind` is missing"),
        ({"kind": "text-clasifier"}, "unknown kind 'text-clasifier', did you mean 'text-classifier'"),
        ({"kind": "text-classifier", "epoch": 3}, "unknown key 'epoch', did you mean 'epochs'"),
        ({"kind": "text-classifier", "columns": {"txt": "x"}}, "unknown key 'columns.txt', did you mean 'text'"),
        ({"kind": "text-classifier", "epochs": 0}, "epochs: .*greater than or equal to 1.*got 0"),
        ({"kind": "text-classifier", "width": 100, "heads": 3}, "width 100 does not split into 3 heads"),
        ({"kind": "text-classifier", "ngrams": [1]}, "ngrams are distinct lengths from 2 to 16"),
        ({"kind": "image-classifier", "width": 20}, "make it a multiple of 8"),
        ({"kind": "language-model", "precision": "fp8"}, "precision: .*'fp32', 'bf16' or 'fp16'"),
        ({"kind": "language-model", "layout": "paked"}, "layout: .*'paked'"),
        (
            {"kind": "language-model", "layout": {"kind": "packed", "open_sequence": 8}},
            "unknown key 'layout.packed.open_sequence', did you mean 'open_sequences'",
        ),
        ({"kind": "language-model", "context": 100, "layout": "packed"}, "is not a multiple of the context 100"),
        ({"kind": "language-model", "regions": {"los": "fp32"}}, "unknown key 'regions.los', did you mean 'loss'"),
        ({"preset": "digit"}, "no preset 'digit', did you mean 'digits'"),
        ({"preset": "digits", "kind": "language-model"}, "preset 'digits' is a image-classifier"),
    ],
)
def test_complaints(value: Any, complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        parse_recipe(value)


def test_parts_are_filled_in_and_layouts_have_a_short_form() -> None:
    recipe = parse_recipe({"preset": "language-model-85m", "regions": {"loss": "fp32"}, "rotary": {"scaling": "yarn"}})
    assert recipe.layout.kind == "packed" and recipe.regions.loss == "fp32" and recipe.regions.residual == "auto"
    assert recipe.rotary.scaling == "yarn" and recipe.rotary.base == 10_000
    assert parse_recipe({"kind": "language-model", "layout": "packed"}) == parse_recipe(
        {"kind": "language-model", "layout": {"kind": "packed"}}
    )


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no training recipe 'digts', did you mean 'digits'"):
        load_training_recipe("digts")
    with pytest.raises(RecipeError, match="no training recipe file"):
        load_training_recipe(tmp_path / "absent.yaml")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(RecipeError, match=r"bad\.json, line 1, column 2: this is not JSON"):
        load_training_recipe(tmp_path / "bad.json")
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(RecipeError, match="cannot read"):
        load_training_recipe(tmp_path / "bad.yaml")


def test_a_server_can_check_a_recipe_without_torch() -> None:
    code = (
        "import sys, pipelines.training.recipe, pipelines.training.presets as p; p.parse_recipe({'preset': 'digits'})"
    )
    code += "; heavy = {'torch', 'ray', 'PIL'} & set(sys.modules); assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
