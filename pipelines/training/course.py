"""The course of a job: how far it goes, and what its learning rate and context are on the way.

A pure function of the place; knows nothing of rows, models or devices.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from pipelines.training.kinds import LanguageModel, TrainingRecipe
from pipelines.training.schedule import learning_rate
from pipelines.training.sequences import Packed, stages
from pipelines.training.spans import BLOCK

__all__ = ["Course", "in_blocks", "is_packed"]


class Course(BaseModel):
    """The length of a job. Padded, a step is a batch of rows. Packed, a step is a number of tokens, and how many there
    will be is known at the end: rate and context then follow the rows read, and `total_steps` is an estimate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_batches: int
    """of rows, in all epochs"""
    limit: int | None = None
    """steps after which the job ends, if rows last so long"""
    packed: bool = False

    def rate(self, step: int, num_read: int, recipe: TrainingRecipe) -> float:
        """The learning rate of a 0-based step taken when `num_read` batches of rows had been read."""
        done, length = self._at(step, max(num_read - 1, 0))
        return learning_rate(done, length, recipe.optimiser)

    def context(self, step: int, num_read: int, recipe: LanguageModel) -> int:
        """The context of the next batch of rows, after that many steps and batches."""
        done, length = self._at(step, num_read)
        return [context for begin, context in stages(recipe.context, recipe.growth) if begin <= done / length][-1]

    def total_steps(self, step: int, num_read: int) -> int:
        """Steps of the whole job: exact when padded; packed, judged by what the rows read so far have filled."""
        if not self.packed:
            return self.num_batches if self.limit is None else min(self.limit, self.num_batches)
        ahead = max(self.num_batches - num_read, 0)
        guess = step + (-(-step * ahead // num_read) if num_read else ahead)
        return max(guess if self.limit is None else min(guess, self.limit), step, 1)

    def _at(self, step: int, batch: int) -> tuple[int, int]:
        """(done, length) in the unit that is known beforehand."""
        if self.packed and self.limit is None:
            return batch, self.num_batches
        return step, self.limit if self.packed and self.limit is not None else self.total_steps(step, batch)


def in_blocks(recipe: TrainingRecipe) -> bool:
    """Whether a compiled job's sequences are whole blocks of FlexAttention from first to last."""
    if not (recipe.compile and isinstance(recipe, LanguageModel) and is_packed(recipe)):
        return False
    return all(context % BLOCK == 0 for _, context in stages(recipe.context, recipe.growth))


def is_packed(recipe: TrainingRecipe) -> bool:
    return isinstance(recipe, LanguageModel) and isinstance(recipe.layout, Packed)
