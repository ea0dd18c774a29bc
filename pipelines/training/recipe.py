"""The training recipe: what a training job does, by preset name or from a YAML or JSON file.

Knows files; what a recipe may hold is in `kinds.py`, the shipped ones in `presets.py`. Loads no torch, so that a server
can check a recipe.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from curator.errors import RecipeError
from pipelines.training.kinds import TrainingRecipe
from pipelines.training.presets import PRESETS, meant, parse_recipe, preset_names

__all__ = ["TrainingRecipe", "load_training_recipe"]


def load_training_recipe(name_or_path: str | Path) -> TrainingRecipe:
    """A training recipe by preset name or by file (.yaml, .yml, .json). Raises RecipeError naming what to fix."""
    text = str(name_or_path)
    if text in PRESETS:
        return PRESETS[text]
    path = Path(text)
    if path.suffix not in {".yaml", ".yml", ".json"}:
        raise RecipeError(
            f"no training recipe {text!r}{meant(text, PRESETS)}. Presets: {', '.join(preset_names())}; "
            "or give a .yaml or .json file."
        )
    return parse_recipe(_read(path), source=text)


def _read(path: Path) -> Any:
    try:
        raw = path.read_text(encoding="utf-8")
        return json.loads(raw) if path.suffix == ".json" else yaml.safe_load(raw)
    except FileNotFoundError as error:
        raise RecipeError(f"no training recipe file {str(path)!r}. Presets: {', '.join(preset_names())}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read the training recipe {str(path)!r}: {error}") from error
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"training recipe {str(path)!r} is not valid {path.suffix[1:].upper()}: {error}") from error
