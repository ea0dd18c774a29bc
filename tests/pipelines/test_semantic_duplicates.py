"""Rows that mean the same by the recipe's encoder fall but one, on every engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curator.errors import RecipeError
from pipelines.what_if import what_if
from tests.pipelines.phases.test_resolve import LABELLED, curated, prose
from tests.pipelines.test_lineage import curated as curated_here
from tests.pipelines.test_lineage import recipe_of, verdicts


def turned(text: str, by: int) -> str:
    """The same sentences from another one on: other words in a row at two seams, the same meaning."""
    parts = text.split(". ")
    return ". ".join([*parts[by:], *parts[:by]])


def families(count: int) -> list[str]:
    """Each of `count` texts, and two that say the same in another order."""
    return [turned(text, by) for text in prose(count) for by in range(3)]


def test_a_row_names_the_one_it_means_the_same_as(tmp_path: Path) -> None:
    rows = [{"id": place, "text": text} for place, text in enumerate(families(30))]
    rows += [{"id": 1000, "text": ""}, {"id": 1001, "text": None}]
    for keep in ("first", "longest"):
        folder = tmp_path / keep
        folder.mkdir()
        recipe = {"task": "text", "columns": {"text": "text"}, "unit_rows": 64}
        process = [{"semantic_duplicates": {"threshold": 0.98, "keep": keep}}]
        summary, ledger = curated(folder, rows, {**recipe, "process": process})
        fallen = [row for row in ledger.values() if row["reason"] == "semantic_duplicate"]
        assert len(fallen) == summary.reasons["semantic_duplicate"] > 45
        for row in fallen:
            assert row["duplicate_of"] // 3 == row["id"] // 3 and 0.98 <= row["similarity"] < 1
            assert ledger[row["duplicate_of"]]["action"] == "keep"
            assert keep == "longest" or row["duplicate_of"] < row["id"]
        assert ledger[1000]["reason"] == ledger[1001]["reason"] == "missing_content"
        root, run = str(folder / "root"), summary.run
        assert what_if(root, run, {"semantic_duplicates.threshold": 0.9999}).reasons.get("semantic_duplicate", 0) == 0
        assert what_if(root, run, {"semantic_duplicates.threshold": 0.9}).kept <= summary.kept
        assert what_if(root, run, {"semantic_duplicates.threshold": 0.98}).kept == summary.kept


def test_no_keeper_falls_to_a_rule_or_another_operator(tmp_path: Path) -> None:
    texts = families(40)
    rows = [{"id": place, "text": text} for place, text in enumerate(texts + texts[::4])]
    least = sorted(len(text.split()) for text in texts)[30]
    process = ["exact_duplicates", {"semantic_duplicates": {"threshold": 0.95}}, {"length": {"min_words": least}}]
    summary, ledger = curated(tmp_path, rows, {"task": "text", "columns": {"text": "text"}, "process": process})
    assert min(summary.reasons[name] for name in ("exact_duplicate", "semantic_duplicate", "too_short")) > 15
    for row in ledger.values():
        if row["duplicate_of"] is not None:
            copy = row["id"] >= len(texts)
            assert row["reason"] == ("exact_duplicate" if copy else "semantic_duplicate")
            assert ledger[row["duplicate_of"]]["reason"] in ((None, "semantic_duplicate") if copy else (None,))


def test_rows_of_different_labels_mean_different_things(tmp_path: Path) -> None:
    rows = [{"id": n, "text": text, "label": "ab"[n % 3 == 2]} for n, text in enumerate(families(30))]
    process = [{"semantic_duplicates": {"threshold": 0.95}}]
    _, ledger = curated(tmp_path, rows, {**LABELLED, "process": process})
    fallen = [row for row in ledger.values() if row["duplicate_of"] is not None]
    assert len(fallen) > 15
    assert all(row["given_label"] == ledger[row["duplicate_of"]]["given_label"] for row in fallen)


def test_a_run_that_goes_on_compares_meanings_of_its_own_rows(tmp_path: Path) -> None:
    texts, root = families(20), tmp_path / "root"
    first = curated_here(root, range(30), texts, recipe_of("exact_duplicates"))
    process: list[Any] = [{"exact_duplicates": {"against": first.run}}, {"semantic_duplicates": {"threshold": 0.97}}]
    second = curated_here(root, range(27, 60), texts, recipe_of(*process))
    told = verdicts(root, second)
    assert second.reasons["exact_duplicate"] >= 3 and second.reasons["semantic_duplicate"] > 10
    assert all(
        row[2] >= 30 and row[2] // 3 == place // 3 for place, row in told.items() if row[1] == "semantic_duplicate"
    )
    with pytest.raises(RecipeError, match="names no parameter of semantic_duplicates"):
        what_if(str(root), second.run, {"semantic_duplicates.against": None})


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_ray_and_inline_find_the_same_meanings(tmp_path: Path) -> None:
    pytest.importorskip("pipelines.cluster.session")
    texts, found = families(60), []
    for engine in ("inline", "ray"):
        run = curated_here(
            tmp_path / engine, range(180), texts, recipe_of({"semantic_duplicates": {"threshold": 0.97}}), engine=engine
        )
        found.append((run.manifest, verdicts(tmp_path / engine, run)))
    assert found[0] == found[1] and sum(row[2] is not None for row in found[0][1].values()) > 60
