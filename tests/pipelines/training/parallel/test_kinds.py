"""The `parallel` section of a recipe: its short form, its bounds, what it does not go with."""

from __future__ import annotations

from typing import Any

import pytest

from curator.errors import RecipeError
from pipelines.training.parallel.kinds import DataParallel, LocalSteps
from pipelines.training.presets import parse_recipe

ONE = {"kind": "text-classifier"}


def test_a_word_is_enough() -> None:
    assert parse_recipe({**ONE, "parallel": "ddp"}).parallel == DataParallel()
    assert parse_recipe({**ONE, "parallel": {"kind": "diloco", "local_steps": 8}}).parallel == LocalSteps(local_steps=8)
    assert parse_recipe(ONE).parallel.kind == "none"
    assert parse_recipe({**ONE, "parallel": "ddp"}).digest != parse_recipe(ONE).digest


@pytest.mark.parametrize(
    ("parallel", "told"),
    [
        ({"kind": "diloco", "local_steps": 4, "fragments": 5}, "fragments 5 is more than local_steps 4"),
        ({"kind": "diloco", "local_steps": 4, "delay": 4}, "delay 4 is not below local_steps 4"),
        ({"kind": "fsdp", "compress": "powersgd"}, "compress.*'none' or 'int8'"),
        ({"kind": "ddp", "compres": "int8"}, "unknown key.*did you mean 'compress'"),
        ("zero", "parallel"),
    ],
)
def test_what_is_refused(parallel: Any, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        parse_recipe({**ONE, "parallel": parallel})


def test_packed_texts_are_for_ranks_in_step() -> None:
    packed = {"kind": "language-model", "layout": "packed", "context": 1024}
    assert parse_recipe(packed).layout.kind == "packed"
    with pytest.raises(RecipeError, match=r"layout packed .* `parallel: diloco`.*`layout: padded`"):
        parse_recipe({**packed, "parallel": "diloco"})
