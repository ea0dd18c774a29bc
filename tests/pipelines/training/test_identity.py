"""A job's identity: the same goes on, another is refused with what differs."""

from __future__ import annotations

from typing import Any

import pytest

from curator.errors import ConflictError
from pipelines.training.course import Course
from pipelines.training.identity import Identity
from tests.pipelines.training.examples import SMALL


def _identity(**changes: Any) -> Identity:
    values: dict[str, Any] = {
        "training_job": "trn_1",
        "manifest": "man_1",
        "plan": "epl_1",
        "recipe": SMALL["text-classifier"],
        "precision": "fp32",
        "course": Course(num_batches=30),
    }
    return Identity(**{**values, **changes})


def test_the_same_job_goes_on() -> None:
    again = Identity.model_validate_json(_identity().model_dump_json())
    _identity().refuse_other(again, "out")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"training_job": "trn_2"}, "training_job: 'trn_2', now 'trn_1'"),
        ({"precision": "bf16"}, "precision: 'bf16', now 'fp32'"),
        ({"course": Course(num_batches=30, limit=7)}, "course: 30 batches, 7 steps, now 30 batches"),
        ({"recipe": SMALL["language-model"]}, "recipe: recipe .*, now recipe"),
        ({"manifest": "man_2", "plan": "epl_2"}, "manifest: .*; plan: "),
    ],
)
def test_another_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConflictError, match=told):
        _identity().refuse_other(_identity(**changes), "out")
