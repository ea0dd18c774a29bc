"""The set operators' parameters, and that importing them loads no compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from curator.duplicates import ExactDuplicates, NearDuplicates, UrlDuplicates


def test_defaults_are_finewebs_numbers() -> None:
    assert NearDuplicates().model_dump() == {
        "kind": "near_duplicates",
        "threshold": 0.8,
        "num_perm": 112,
        "bands": 14,
        "ngram": 5,
        "keep": "first",
        "against": None,
    }
    assert ExactDuplicates().model_dump() == {"kind": "exact_duplicates", "keep": "first", "against": None}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"bands": 13}, "does not divide into 13 bands"),
        ({"threshold": 1.1}, "less than or equal to 1"),
        ({"threshold": 0.49}, "greater than or equal to 0.5"),
        ({"keep": "last"}, "'first', 'longest' or 'best'"),
        ({"perms": 3}, "Extra inputs"),
        ({"against": "../run_1"}, "should match pattern"),
    ],
)
def test_bad_parameters_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        NearDuplicates(**options)  # type: ignore[arg-type]


def test_reasons() -> None:
    assert list(ExactDuplicates.reasons) == ["exact_duplicate"]
    assert list(NearDuplicates.reasons) == ["near_duplicate"]
    assert list(UrlDuplicates.reasons) == ["url_duplicate"]


def test_operators_load_no_numba() -> None:
    code = "import sys, curator.signals.operators, curator.duplicates; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
