"""Recipes: what to do with data. `load("text")`, `load("my.yaml")`, `parse({...})`."""

from curator.recipe.fitting import fitted, require_learner
from curator.recipe.load import load, parse, preset_names
from curator.recipe.policy import PolicySpec
from curator.recipe.recipe import Columns, Encoders, Operator, Recipe, SetOperator, Task

__all__ = [
    "Columns",
    "Encoders",
    "Operator",
    "PolicySpec",
    "Recipe",
    "SetOperator",
    "Task",
    "fitted",
    "load",
    "parse",
    "preset_names",
    "require_learner",
]
