"""Recipes from preset names, YAML or JSON files, and plain values; every complaint in the user's words.

Knows files and presets; the types say what a recipe may hold.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from curator.errors import RecipeError
from curator.recipe.recipe import Recipe
from curator.recipe.syntax import read_plain

__all__ = ["load", "parse", "preset_names"]

_PRESETS = files("curator.recipe") / "presets"


def preset_names() -> tuple[str, ...]:
    """Names of the shipped recipes, sorted."""
    return tuple(
        sorted(entry.name.removesuffix(".yaml") for entry in _PRESETS.iterdir() if entry.name.endswith(".yaml"))
    )


def load(name_or_path: str | Path) -> Recipe:
    """A recipe by preset name or by file (.yaml, .yml, .json). Raises RecipeError naming what to fix."""
    text = str(name_or_path)
    if text in preset_names():
        return parse(_preset(text), source=f"preset {text}")
    path = Path(text)
    if path.suffix not in {".yaml", ".yml", ".json"}:
        raise RecipeError(f"no recipe {text!r}. Presets: {', '.join(preset_names())}; or give a .yaml or .json file.")
    try:
        value = read_plain(path)
    except FileNotFoundError as error:
        raise RecipeError(f"no recipe file {text!r}. Presets: {', '.join(preset_names())}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read the recipe {text!r}: {error}") from error
    return parse(value, source=text)


def parse(value: Any, *, source: str = "recipe") -> Recipe:
    """A recipe from plain values; `preset: NAME` in process stands for that preset's operators. Raises RecipeError."""
    if not isinstance(value, Mapping):
        raise RecipeError(f"{source} holds {type(value).__name__}, not a mapping; start with `task: text`")
    try:
        return Recipe.model_validate({**value, "process": _expanded(value.get("process") or [])})
    except ValidationError as error:
        raise RecipeError(f"{source}: " + "; ".join(_complaint(item) for item in error.errors())) from error


def _preset(name: str) -> Any:
    if name not in preset_names():
        close = difflib.get_close_matches(name, preset_names(), 1)
        hint = f", did you mean {close[0]!r}" if close else ""
        raise RecipeError(f"no preset {name!r}{hint}. Presets: {', '.join(preset_names())}.")
    return yaml.safe_load((_PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))


def _expanded(entries: Any) -> Any:
    if not isinstance(entries, (list, tuple)):
        return entries
    out: list[Any] = []
    for entry in entries:
        if isinstance(entry, Mapping) and set(entry) == {"preset"}:
            out.extend(_expanded(_preset(str(entry["preset"])).get("process") or []))
        else:
            out.append(entry)
    return out


def _complaint(item: Any) -> str:
    place = ".".join(str(part) for part in item["loc"]) or "recipe"
    kind, message = item["type"], item["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(str(item["loc"][-1]), _known_keys(), 1)
        return f"unknown key {place!r}{f', did you mean {close[0]!r}' if close else ''}"
    if kind == "union_tag_invalid":
        context = item["ctx"]
        return f"{place}: unknown operator {context['tag']!r}; there are {context['expected_tags']}"
    return f"{place}: {message} (got {item['input']!r})" if kind != "value_error" else f"{place}: {message}"


def _known_keys() -> list[str]:
    return list(Recipe.model_fields) + list(Recipe.model_fields["columns"].annotation.model_fields)  # type: ignore[union-attr]
