"""Layouts, windows and growth: short forms, and what does not fit together."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pipelines.training.course import is_packed
from pipelines.training.kinds import LanguageModel, TextClassifier
from pipelines.training.sequences import Growth, Packed, Padded, stages, wrong_with


def test_what_does_not_fit_together_is_refused_in_words() -> None:
    cases = [
        ({"growth": [{"context": 64, "until": 0.5}], "context": 32}, r"a growing context grows: \[64, 32\]"),
        (
            {"growth": [{"context": 8, "until": 0.5}, {"context": 16, "until": 0.4}], "context": 32},
            r"growth.until \[0.5, 0.4\] must rise",
        ),
        (
            {"context": 48, "layout": {"kind": "packed", "tokens_per_step": 100}},
            "tokens_per_step 100 is not a multiple of the context 48; take 144",
        ),
        ({"context": 32, "window": 33}, "a window of 33 tokens is longer than the context of 32"),
    ]
    for values, complaint in cases:
        with pytest.raises(ValidationError, match=complaint):
            LanguageModel.model_validate(values)


def test_layouts_by_name() -> None:
    assert LanguageModel.model_validate({"layout": "packed", "context": 256}).layout == Packed()
    assert (
        not is_packed(LanguageModel()) and is_packed(LanguageModel(layout=Packed())) and not is_packed(TextClassifier())
    )


def test_stages_of_a_context_that_does_not_grow() -> None:
    assert stages(64, ()) == ((0.0, 64),)
    assert wrong_with(64, (), Padded(), None) is None
    assert wrong_with(64, (Growth(context=16, until=0.5),), Packed(tokens_per_step=128), 64) is None
