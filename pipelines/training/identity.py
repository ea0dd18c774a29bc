"""What makes a job the one it is: a checkpoint of another is refused, never mixed in.

A value; knows nothing of files, devices or steps.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from curator.errors import ConflictError
from pipelines.training.course import Course
from pipelines.training.kinds import TrainingRecipe

__all__ = ["Identity"]


class Identity(BaseModel):
    """Equal identities give equal steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training_job: str
    manifest: str
    plan: str
    recipe: TrainingRecipe
    precision: str
    course: Course

    def refuse_other(self, found: Identity, folder: str) -> None:
        """Raises ConflictError, naming what differs, when `folder`'s checkpoint is another job's."""
        pairs = [(name, getattr(found, name), getattr(self, name)) for name in type(self).model_fields]
        other = [f"{name}: {_brief(theirs)}, now {_brief(ours)}" for name, theirs, ours in pairs if theirs != ours]
        if other:
            raise ConflictError(
                f"{folder} holds the checkpoint of another job ({'; '.join(other)}). Going on from it would mix the "
                "two. Use another checkpoint folder, or start over with resume off."
            )


def _brief(value: Any) -> str:
    if isinstance(value, Course):
        return f"{value.num_batches} batches" + (f", {value.limit} steps" if value.limit is not None else "")
    return f"recipe {value.digest[:12]}" if hasattr(value, "digest") else repr(value)
