"""How good a model is on rows it was not trained on: accuracy and mean loss over a plain table.

Knows models and feeds; nothing of training, of shards, or of where the table came from.
"""

from __future__ import annotations

import pyarrow as pa
import torch
from pydantic import BaseModel, ConfigDict

from curator.errors import RequestError
from pipelines.training.classes import ClassTable
from pipelines.training.feed import feed_for
from pipelines.training.kernels import kernel_for_spans
from pipelines.training.kinds import TrainingRecipe
from pipelines.training.model import Model
from pipelines.training.precision import Placement, cpu_threads, place_recipe
from pipelines.training.rows import with_sample_ids
from pipelines.training.step import losses

__all__ = ["Evaluation", "evaluate"]


class Evaluation(BaseModel):
    """Scores over all rows of a table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_rows: int
    mean_loss: float
    """nats: a row's cross-entropy, or a text's mean over its tokens"""
    accuracy: float | None
    """share of rows whose highest class is their label; None for a language model"""
    num_without_target: int = 0
    """rows a language model could not be scored on; not in `mean_loss`"""


def evaluate(
    model: Model,
    recipe: TrainingRecipe,
    classes: ClassTable | None,
    table: pa.Table,
    *,
    batch_size: int = 256,
    placement: Placement | None = None,
) -> Evaluation:
    """Scores every row once, in order; the model keeps its mode and moves to the placement's device.

    Raises RequestError for an empty table, InputError for a label that is not in the class table.
    """
    if not table.num_rows:
        raise RequestError("the table to evaluate on has no rows: a score of nothing means nothing. Check the split.")
    placement = placement or place_recipe(recipe)
    feed, was_training = (
        feed_for(recipe, classes, kernel_for_spans(placement.device, placement.attention_dtype)),
        model.training,
    )
    model.to(placement.device).eval()
    total, right, known, rows = 0.0, 0, 0, table.num_rows
    with cpu_threads(recipe.cpu_threads):
        for batch in with_sample_ids(table).combine_chunks().to_batches(max_chunksize=batch_size):
            with torch.no_grad():
                found = losses(model, feed(batch, None).to(placement.device), placement)
            real = ~torch.isnan(found.per_sample_B)
            total += float(found.per_sample_B[real].double().sum())
            known += int(real.sum())
            right += 0 if found.correct_B is None else int(found.correct_B.sum())
    model.train(was_training)
    return Evaluation(
        num_rows=rows,
        mean_loss=total / known,
        accuracy=None if classes is None else right / rows,
        num_without_target=rows - known,
    )
