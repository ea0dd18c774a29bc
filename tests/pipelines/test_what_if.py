"""Other thresholds from the side files: counts agree with a real run under those thresholds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.errors import NotFoundError, RecipeError
from curator.ledger import Ledger
from curator.recipe import parse
from curator.run import RunRequest, RunSummary
from curator.storage import Store
from pipelines.what_if import changed, what_if
from tests.pipelines.test_execute import go, labelled_recipe, text_recipe


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


PARTS: list[Any] = [
    {"length": {"min_words": 130}},
    {"length": {"max_words": 200, "min_words": 110}},
    {"length": {"max_chars": 900}},
    {"gopher_repetition": {"max_top_2_gram": 0.15}},
    {"composition": {}},
    "exact_duplicates",
    {"exact_duplicates": {"keep": "longest"}},
    {"near_duplicates": {"threshold": 0.6}},
    {"near_duplicates": {"threshold": 0.97, "keep": "longest"}},
    {"preset": "text"},
    {"preset": "gopher"},
    {"preset": "dolma"},
]


def stacked(seed: int) -> list[Any]:
    """Three to six operators and presets in any order, kinds repeated."""
    rng = random.Random(seed)
    return [rng.choice(PARTS) for _ in range(rng.randint(3, 6))]


@pytest.mark.parametrize("seed", range(10))
def test_unchanged_thresholds_are_the_run_whatever_the_recipe(tmp_path: Path, texts: Path, seed: int) -> None:
    recipe = parse({"task": "text", "columns": {"text": "text"}, "unit_rows": 64, "process": stacked(seed)})
    done = go(tmp_path / "root", RunRequest(inputs=(str(texts),), recipe=recipe.model_dump(mode="json")))
    asked = what_if(str(tmp_path / "root"), done.run, {})
    assert asked.kept == asked.kept_before == done.kept
    assert asked.reasons == asked.reasons_before == done.reasons
    assert asked.newly_kept == asked.newly_dropped == asked.not_judged == 0


@pytest.mark.parametrize("policy", ["rules", "learned"])
def test_unchanged_thresholds_are_the_run_for_labelled_rows(
    tmp_path: Path, labelled: dict[str, Path], policy: str
) -> None:
    """Trusted labels, missing labels and judged rows stand as they were, under either policy."""
    recipe = labelled_recipe(policy={"kind": policy}, process=["exact_duplicates", {"length": {"min_words": 45}}])
    inputs = (str(labelled["a"]), str(labelled["b"]))
    done = go(tmp_path / "root", RunRequest(inputs=inputs, recipe=recipe, trusted=str(labelled["trusted"])))
    asked = what_if(str(tmp_path / "root"), done.run, {})
    assert asked.reasons == asked.reasons_before == done.reasons and asked.kept == done.kept
    assert done.reasons["too_short"] > 50 and done.reasons["trusted_label"] > 5


def test_a_trusted_row_that_a_rule_no_longer_drops_gets_its_truth(tmp_path: Path, labelled: dict[str, Path]) -> None:
    """Under rules nothing is left to judge: what-if gives the very counts of a run, relabels and missing labels too."""
    table = pq.read_table(labelled["a"])
    gaps = [None if row % 9 == 0 else label for row, label in enumerate(table["label"].to_pylist())]
    pq.write_table(table.set_column(2, "label", pa.array(gaps)), labelled["a"], row_group_size=100)
    inputs = (str(labelled["a"]), str(labelled["b"]))
    recipe = labelled_recipe(policy={"kind": "rules"}, process=["exact_duplicates", {"length": {"min_words": 55}}])
    done = go(tmp_path / "root", RunRequest(inputs=inputs, recipe=recipe, trusted=str(labelled["trusted"])))
    wanted = {"length.min_words": 40}
    asked = what_if(str(tmp_path / "root"), done.run, wanted)
    other = changed(parse(recipe), wanted).model_dump(mode="json")
    real = go(tmp_path / "again", RunRequest(inputs=inputs, recipe=other, trusted=str(labelled["trusted"])))
    assert (asked.kept, asked.reasons, asked.not_judged) == (real.kept, real.reasons, 0)
    assert real.reasons["trusted_label"] > done.reasons["trusted_label"]
    assert real.reasons["missing_label"] > done.reasons["missing_label"]


def test_only_rows_a_learned_policy_never_saw_are_not_judged(tmp_path: Path, labelled: dict[str, Path]) -> None:
    recipe = labelled_recipe(process=["exact_duplicates", {"length": {"min_words": 45}}])
    inputs = (str(labelled["a"]), str(labelled["b"]))
    done = go(tmp_path / "root", RunRequest(inputs=inputs, recipe=recipe, trusted=str(labelled["trusted"])))
    asked = what_if(str(tmp_path / "root"), done.run, {"length.min_words": None})
    assert asked.newly_kept == done.reasons["too_short"] > asked.not_judged > 0
    trusted = set(pq.read_table(labelled["trusted"])["id"].to_pylist())
    ledger = [row for batch in Ledger(Store.open(tmp_path / "root"), done.run).scan() for row in batch.to_pylist()]
    assert asked.not_judged == sum(row["reason"] == "too_short" and row["id"] not in trusted for row in ledger)


TWICE = [
    {"length": {"min_words": 120}},
    "exact_duplicates",
    {"length": {"max_words": 220}},
    {"near_duplicates": {"threshold": 0.95}},
    {"near_duplicates": {"threshold": 0.6}},
]


@pytest.mark.parametrize(
    "settings",
    [
        {"length#1.min_words": 150},
        {"length#2.max_words": 150, "length#1.min_words": None},
        {"near_duplicates#2.threshold": 1, "exact_duplicates#1.keep": "longest"},
        {"near_duplicates#1.threshold": 1, "near_duplicates#2.threshold": 0.995},
        {"length#2.min_words": 140, "length#2.max_words": 180},
    ],
)
def test_the_second_of_a_kind_has_a_name(tmp_path: Path, texts: Path, settings: dict[str, Any]) -> None:
    recipe = parse({"task": "text", "columns": {"text": "text"}, "unit_rows": 64, "process": TWICE})
    done = go(tmp_path / "root", RunRequest(inputs=(str(texts),), recipe=recipe.model_dump(mode="json")))
    asked = what_if(str(tmp_path / "root"), done.run, settings)
    other = changed(recipe, settings).model_dump(mode="json")
    real = go(tmp_path / "again", RunRequest(inputs=(str(texts),), recipe=other))
    assert (asked.kept, asked.reasons, asked.reasons_before) == (real.kept, real.reasons, done.reasons)
    assert asked.kept != done.kept


def test_an_ambiguous_kind_is_refused_with_the_choices() -> None:
    recipe = parse({"task": "text", "columns": {"text": "text"}, "process": TWICE})
    choices = r"length#1\.max_words \(min_words 120\) or length#2\.max_words \(max_words 220\)"
    for name in ("length.max_words", "length#3.max_words", "length#0.max_words", "length#x.max_words"):
        with pytest.raises(RecipeError, match=f"'{name}' does not say which length .* say {choices}"):
            changed(recipe, {name: 9})
    for name, place in (("exact_duplicates.keep", 1), ("exact_duplicates#1.keep", 1)):
        assert changed(recipe, {name: "longest"}).process[place].model_dump()["keep"] == "longest"
    assert changed(recipe, {"length#2.max_words": 9}).process[2].model_dump()["max_words"] == 9


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
        ({"near_duplicates.threshold": 3}, "near_duplicates.threshold: .* less than or equal to 1"),
        ({"near_duplicates.threshold": 0.4}, "greater than or equal to 0.5"),
        ({"near_duplicates.bands": 7}, "does not compute again"),
        ({"length.mn_words": 3}, "'length.mn_words' names no parameter of length; it has min_chars"),
        ({"length.kind": "boilerplate"}, "'length.kind' names no parameter"),
        ({"length": 3}, "'length' names no parameter"),
    ):
        with pytest.raises(RecipeError, match=words):
            what_if(root, first.run, settings)
    with pytest.raises(NotFoundError):
        what_if(root, "run_absent", {})
