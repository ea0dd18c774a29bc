"""The language rule: what it keeps, what it cannot judge, and a table of codes that never moves."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from curator.signals import score_text
from curator.signals.language import LANGUAGES, Language

ENGLISH = (
    "The committee met again on Thursday and agreed that the bridge would be closed for repairs during the winter."
)
GERMAN = (
    "Der Ausschuss trat am Donnerstag erneut zusammen und beschloss, die Brücke im Winter wegen Reparaturen zu sperren."
)


def test_keeps_what_is_asked_for() -> None:
    columns = score_text(pa.array([ENGLISH, GERMAN, "", None]), Language.signals)
    assert Language().fired(columns)["language_other"].tolist() == [False, True, False, False]
    assert Language(keep=("de", "en")).fired(columns)["language_other"].tolist() == [False] * 4
    assert not Language(min_score=0).fired(columns)["language_uncertain"].any()
    assert not any(mask[2:].any() for mask in Language(min_score=1).fired(columns).values())
    badness = Language().badness(columns)
    assert badness[1] > 0 > badness[0]
    assert np.isnan(badness[2:]).all()


def test_a_short_row_is_dropped_only_where_the_model_is_sure() -> None:
    columns = {
        "language": np.array([LANGUAGES.index(name) for name in ("en", "de", "de", "de", "en")], np.float32),
        "language_score": np.array([0.3, 0.3, 0.65, 0.3, 0.3], np.float32),
        "num_chars": np.array([99, 99, 99, 100, 100], np.float32),
    }
    assert Language().fired(columns)["language_other"].tolist() == [False, False, True, False, False]
    assert Language().fired(columns)["language_uncertain"].tolist() == [False, False, False, True, True]
    assert np.isnan(Language().badness(columns)[:2]).all()
    assert Language(min_chars=0).fired(columns)["language_uncertain"].tolist() == [True, True, False, True, True]


def test_defaults_are_finewebs() -> None:
    assert (Language().keep, Language().min_score) == (("en",), 0.65)


def test_an_unknown_code_is_refused() -> None:
    with pytest.raises(ValidationError, match="unknown language 'eng'"):
        Language(keep=("eng",))
    with pytest.raises(ValidationError):
        Language(keep=())


def test_codes_are_stored_in_files_and_must_not_move() -> None:
    assert len(LANGUAGES) == len(set(LANGUAGES)) == 140
    assert [LANGUAGES.index(name) for name in ("ace", "de", "en", "fr", "zh", "zxx")] == [0, 21, 24, 33, 137, 139]
