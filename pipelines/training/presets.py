"""Training recipes shipped by name, and recipes from plain values; every complaint in the user's words.

Knows values, no files (`recipe.py` reads those); the types say what a recipe may hold.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from curator.errors import RecipeError
from pipelines.training.augment import Flip, Shift
from pipelines.training.kinds import (
    ImageClassifier,
    LanguageModel,
    Optimiser,
    Regions,
    TextClassifier,
    TrainingRecipe,
    VideoClassifier,
)
from pipelines.training.parallel.kinds import DataParallel, LocalSteps, ShardedParallel
from pipelines.training.sequences import Packed

__all__ = ["PRESETS", "meant", "parse_recipe", "preset_names"]

PRESETS: Final[Mapping[str, TrainingRecipe]] = {
    "text-classifier": TextClassifier(),
    "small-text-classifier": TextClassifier(width=64, depth=1, heads=2, context=192, epochs=3),
    "image-classifier": ImageClassifier(augment=(Shift(), Flip())),
    "video-classifier": VideoClassifier(augment=(Shift(),)),
    "language-model": LanguageModel(),
    "digits": ImageClassifier(
        image_size=8, colours="grey", width=16, epochs=12, optimiser=Optimiser(learning_rate=1e-2)
    ),
    "small-language-model": LanguageModel(width=64, heads=2, context=128, epochs=3),
    "language-model-85m": LanguageModel(
        width=768,
        depth=12,
        heads=12,
        context=1024,
        layout=Packed(),
        epochs=1,
        global_batch_size=32,
        optimiser=Optimiser(learning_rate=6e-4, weight_decay=0.1, warmup=0.02),
    ),
}
"""Shipped recipes. A file may start from one: `preset: digits` and then only what differs."""

_ADAPTER: TypeAdapter[Any] = TypeAdapter(TrainingRecipe)
_EXAMPLE = "start with `kind: text-classifier` or `preset: text-classifier`"


def preset_names() -> tuple[str, ...]:
    """Names of the shipped training recipes, sorted."""
    return tuple(sorted(PRESETS))


def parse_recipe(value: Any, *, source: str = "training recipe") -> TrainingRecipe:
    """A training recipe from plain values; `preset: NAME` fills in what is not said. Raises RecipeError."""
    if not isinstance(value, Mapping):
        raise RecipeError(f"{source} holds {type(value).__name__}, not a mapping; {_EXAMPLE}")
    try:
        return _ADAPTER.validate_python(_filled(value, source))
    except ValidationError as error:
        raise RecipeError(f"{source}: " + "; ".join(_complaint(item, value) for item in error.errors())) from error


def _filled(value: Mapping[str, Any], source: str) -> dict[str, Any]:
    given = dict(value)
    name = given.pop("preset", None)
    if name is None:
        return given
    if name not in PRESETS:
        raise RecipeError(
            f"{source}: no preset {name!r}{meant(str(name), PRESETS)}. Presets: {', '.join(preset_names())}."
        )
    base = PRESETS[name].model_dump(mode="json")
    if given.get("kind", base["kind"]) != base["kind"]:
        raise RecipeError(
            f"{source}: preset {name!r} is a {base['kind']}, kind says {given['kind']!r}; drop one of them"
        )
    for key in ("columns", "optimiser", "regions", "rotary"):
        if isinstance(given.get(key), Mapping):
            given[key] = {**base.get(key, {}), **given[key]}
    return {**base, **given}


def _complaint(item: Any, value: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in item["loc"][1:]) or "recipe"
    kind, message = item["type"], item["msg"].removeprefix("Value error, ")
    if kind == "union_tag_not_found" and not item["loc"]:
        return f"`kind` is missing; {_EXAMPLE}"
    if kind == "union_tag_invalid" and not item["loc"]:
        tag = str(item["ctx"]["tag"])
        return f"unknown kind {tag!r}{meant(tag, _kinds())}; there are {', '.join(_kinds())}"
    if kind == "extra_forbidden":
        return f"unknown key {place!r}{meant(str(item['loc'][-1]), _known_keys(str(item['loc'][0])))}"
    if kind == "value_error":
        return f"{place}: {message}"
    return f"{place}: {message} (got {item['input']!r})"


def _kinds() -> tuple[str, ...]:
    return ("text-classifier", "image-classifier", "language-model", "video-classifier")


def _known_keys(kind: str) -> list[str]:
    recipe = PRESETS[kind]
    return [
        *type(recipe).model_fields,
        *type(recipe.columns).model_fields,
        *Optimiser.model_fields,
        *Packed.model_fields,
        *Regions.model_fields,
        *DataParallel.model_fields,
        *ShardedParallel.model_fields,
        *LocalSteps.model_fields,
    ]


def meant(word: str, names: Iterable[str]) -> str:
    """`, did you mean …` for the nearest of the names, or nothing."""
    close = difflib.get_close_matches(word, list(names), 1)
    return f", did you mean {close[0]!r}" if close else ""
