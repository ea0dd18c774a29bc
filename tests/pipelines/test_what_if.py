"""Other thresholds from the side files: counts agree with a real run under those thresholds."""

from __future__ import annotations

from pathlib import Path

import pytest

from curator.errors import NotFoundError, RecipeError
from curator.recipe import parse
from curator.run import RunRequest, RunSummary
from pipelines.what_if import changed, what_if
from tests.pipelines.test_execute import go, text_recipe


@pytest.fixture
def done(tmp_path: Path, texts: Path) -> tuple[str, RunSummary]:
    root = tmp_path / "root"
    return str(root), go(root, RunRequest(inputs=(str(texts),), recipe=text_recipe()))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"near_duplicates.threshold": 0.99},
        {"near_duplicates.threshold": 0.6, "length.min_words": 100},
        {"exact_duplicates.keep": "longest"},
        {"gopher_repetition.max_top_2_gram": None, "length.max_words": 150},
    ],
)
def test_counts_are_those_of_a_run_under_these_thresholds(
    tmp_path: Path, texts: Path, done: tuple[str, RunSummary], settings: dict[str, object]
) -> None:
    root, first = done
    asked = what_if(root, first.run, settings)
    recipe = changed(parse(text_recipe()), settings).model_dump(mode="json")
    real = go(tmp_path / "again", RunRequest(inputs=(str(texts),), recipe=recipe))
    assert (asked.rows, asked.kept_before, asked.kept) == (400, first.kept, real.kept)
    assert asked.reasons == real.reasons and asked.reasons_before == first.reasons
    assert asked.newly_kept - asked.newly_dropped == real.kept - first.kept
    assert len(asked.examples["newly_dropped"]) == min(asked.newly_dropped, 3)


def test_examples_go_by_the_datas_own_ids(tmp_path: Path, texts: Path, done: tuple[str, RunSummary]) -> None:
    root, first = done
    found = what_if(root, first.run, {"length.max_words": 120}).examples["newly_dropped"]
    assert len(found) == 3 and all(isinstance(example, int) and example < 300 for example in found)
    nameless = parse({**text_recipe(), "columns": {"text": "text", "id": None}}).model_dump(mode="json")
    other = go(tmp_path / "nameless", RunRequest(inputs=(str(texts),), recipe=nameless))
    [example, *_] = what_if(str(tmp_path / "nameless"), other.run, {"length.max_words": 120}).examples["newly_dropped"]
    assert isinstance(example, str) and len(bytes.fromhex(example)) == 16


def test_what_cannot_be_asked(done: tuple[str, RunSummary]) -> None:
    root, first = done
    for settings, words in (
        ({"gopher_qualty.min_words": 3}, "no operator 'gopher_qualty'"),
        ({"near_duplicates.threshold": 3}, "less than or equal to 1"),
        ({"near_duplicates.bands": 7}, "does not compute again"),
        ({"length.mn_words": 3}, "length.mn_words"),
    ):
        with pytest.raises(RecipeError, match=words):
            what_if(root, first.run, settings)
    with pytest.raises(NotFoundError):
        what_if(root, "run_absent", {})
