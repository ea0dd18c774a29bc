"""The student of a distillation: its recipe from the teacher's, which layer learns from which, what it begins with.

Knows recipes and models; nothing of losses, rows or gates.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from curator.errors import RecipeError
from pipelines.training.checkpoint import TrainedModel
from pipelines.training.compress.recipe import Distil
from pipelines.training.image_model import num_stages
from pipelines.training.kinds import ImageClassifier, TextClassifier, TrainingRecipe
from pipelines.training.model import build
from pipelines.training.transformer import EncoderClassifier

__all__ = ["layer_map", "new_student", "student_recipe"]


def student_recipe(teacher: TrainingRecipe, wish: Distil, seed: int) -> TrainingRecipe:
    """The teacher's recipe at the student's size, with the distillation's epochs and optimiser.

    Raises RecipeError for a size that cannot be: no layer left, half a head.
    """
    sizes: dict[str, Any] = {
        "width": _share(teacher.width, wish.width, "width", 8),
        "depth": _share(teacher.depth, wish.depth, "depth", 1),
        "epochs": wish.epochs,
        "optimiser": wish.optimiser or teacher.optimiser,
        "seed": seed,
    }
    if isinstance(teacher, TextClassifier):
        sizes["heads"] = _share(teacher.heads, wish.width, "heads", 1)
        sizes["ngram_buckets"] = _share(teacher.ngram_buckets, wish.ngram_buckets, "ngram_buckets", 64)
    elif wish.ngram_buckets != 1.0:
        raise RecipeError(f"distil.ngram_buckets {wish.ngram_buckets}: an {teacher.kind} has no n-grams; leave it out")
    try:
        return type(teacher).model_validate({**teacher.model_dump(), **sizes})
    except ValueError as error:
        told = "; ".join(str(item["msg"]).removeprefix("Value error, ") for item in getattr(error, "errors", list)())
        raise RecipeError(f"distil: no {teacher.kind} can be a student of that size: {told or error}") from error


def layer_map(teacher: TrainingRecipe, student: TrainingRecipe) -> list[int]:
    """For each block of the student the block of the teacher it learns from: evenly spread, the last from the last
    (Jiao et al. 2020, arXiv 1909.10351, section 3.1); of an image network inside each stage."""
    stages = num_stages(teacher.image_size) if isinstance(teacher, ImageClassifier) else 1
    inside = [math.ceil((block + 1) * teacher.depth / student.depth) - 1 for block in range(student.depth)]
    return [stage * teacher.depth + block for stage in range(stages) for block in inside]


def new_student(teacher: TrainedModel, recipe: TrainingRecipe) -> TrainedModel:
    """A student with its first parameters. As wide as its teacher, it begins as the mapped layers of it. A narrower
    text classifier begins with its teacher's tables in their principal directions, the rest as for training."""
    model = build(recipe, len(teacher.classes or ()), torch.device("cpu"))
    with torch.no_grad():
        if recipe.width == teacher.recipe.width:
            _copy(teacher, model, recipe)
        elif isinstance(model, EncoderClassifier):
            _project(teacher.model, model)
    return TrainedModel(recipe=recipe, classes=teacher.classes, model=model)


def _share(size: int, share: float, name: str, least: int) -> int:
    found = size * share
    if found < least or found != int(found):
        raise RecipeError(
            f"distil: {share} of a teacher's {name} of {size} is {found:g}; it must be whole and at least {least}"
        )
    return int(found)


def _copy(teacher: TrainedModel, student: Any, recipe: TrainingRecipe) -> None:
    for own, theirs in enumerate(layer_map(teacher.recipe, recipe)):
        student.blocks[own].load_state_dict(teacher.model.blocks[theirs].state_dict())
    rest = {name: tensor for name, tensor in teacher.model.state_dict().items() if not name.startswith("blocks.")}
    if "ngram_embedding.weight" in rest:
        rest["ngram_embedding.weight"] = _folded(rest["ngram_embedding.weight"], student.num_buckets)
    student.load_state_dict(rest, strict=False)


def _project(teacher: Any, student: Any) -> None:
    """E·P with P the leading eigenvectors of EᵀE over both tables: of all projections it keeps the most of E."""
    tables = [table for table in (teacher.embedding, teacher.ngram_embedding) if table is not None]
    every = torch.cat([table.weight for table in tables])
    directions = torch.linalg.eigh(every.double().T @ every.double()).eigenvectors.flip(1)
    kept = directions[:, : student.embedding.embedding_dim].float()
    student.embedding.weight.copy_(teacher.embedding.weight @ kept)
    if student.ngram_embedding is not None:
        table = _folded(teacher.ngram_embedding.weight, student.num_buckets)
        student.ngram_embedding.weight.copy_(table @ kept)


def _folded(table: Tensor, num_buckets: int) -> Tensor:
    """Fewer buckets: a bucket is a hash modulo their number, so rows that fall together are averaged. Where the numbers
    do not divide, no row of the old table is one of the new, and the first are taken as they are."""
    if len(table) % num_buckets:
        return table[:num_buckets]
    return table.view(-1, num_buckets, table.shape[1]).mean(dim=0)
