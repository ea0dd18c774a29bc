"""The training recipe: what a training job does, by preset name or from a YAML or JSON file.

Knows files; what a recipe may hold is in `kinds.py`, the shipped ones in `presets.py`. Loads no torch, so that a server
can check a recipe.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curator.errors import RecipeError
from curator.recipe.syntax import read_plain
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
        return read_plain(path)
    except FileNotFoundError as error:
        raise RecipeError(f"no training recipe file {str(path)!r}. Presets: {', '.join(preset_names())}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read the training recipe {str(path)!r}: {error}") from error
