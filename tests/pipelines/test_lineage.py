"""A run that goes on from earlier ones judges its rows as a run over all of them would."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.errors import ConflictError, RecipeError
from curator.ledger import Ledger
from curator.recipe import parse
from curator.run import RunSummary
from curator.storage import Store
from pipelines.runs import curate_here
from pipelines.what_if import what_if
from tests.pipelines.phases.test_resolve import prose, without

NEAR: dict[str, Any] = {"near_duplicates": {"threshold": 0.7}}


def texts_in_families(count: int, seed: int) -> list[str]:
    """Copies and near copies of one another all over, some too short for the rule."""
    rng = np.random.default_rng(seed)
    base = prose(count // 4, seed)
    found = []
    for _ in range(count):
        text = base[rng.integers(len(base))]
        for _ in range(int(rng.choice([0, 0, 1, 3, 6]))):
            text = without(text, int(rng.integers(len(text.split()))))
        found.append(text if rng.random() > 0.1 else text.split()[0])
    return found


def recipe_of(*process: Any, **more: Any) -> dict[str, Any]:
    return {"task": "text", "columns": {"text": "text"}, "unit_rows": 64, "process": list(process), **more}


def address(row: int) -> str | None:
    """Of 80 pages, each spelled its own way; every ninth row has none."""
    place = row * 7 % 80
    spelled = [f"https://a.org/{place}", f"HTTPS://A.org:443/x/../{place}#{row}", f"https://a.org/{place}?utm_x={row}"]
    return ["a.org", "", None][row % 3] if row % 9 == 0 else spelled[row % 3]


def curated(root: Path, rows: Iterable[int], texts: list[str], recipe: dict[str, Any], **more: Any) -> RunSummary:
    path = root.parent / f"{root.name}-{min(rows)}.parquet"
    columns = {"id": list(rows), "text": [texts[row] for row in rows], "url": [address(row) for row in rows]}
    pq.write_table(pa.table(columns), path, row_group_size=64)
    return curate_here([str(path)], parse(recipe), None, str(root), **more)


def verdicts(root: Path, *runs: RunSummary) -> dict[int, tuple[Any, ...]]:
    """By id: action, reason, the id of the row it duplicates, similarity."""
    ledgers = [pa.Table.from_batches(Ledger(Store.open(root), run.run).scan()).to_pylist() for run in runs]
    rows = [row for ledger in ledgers for row in ledger]
    ids = {row["sample_id"]: row["id"] for row in rows}
    return {row["id"]: (row["action"], row["reason"], ids.get(row["duplicate_of"]), row["similarity"]) for row in rows}


@pytest.mark.parametrize("seed", [1, 2])
def test_new_rows_are_judged_as_in_a_run_over_all(tmp_path: Path, seed: int) -> None:
    texts = texts_in_families(400, seed)
    rule = {"length": {"min_words": 5}}
    whole = curated(tmp_path / "whole", range(400), texts, recipe_of("exact_duplicates", NEAR, rule))
    wanted = verdicts(tmp_path / "whole", whole)

    root, runs = tmp_path / "parts", []
    for low, high in ((0, 250), (250, 360), (360, 400)):
        more = {"against": runs[-1].run} if runs else {}
        process = [{"exact_duplicates": more}, {"near_duplicates": {**NEAR["near_duplicates"], **more}}, rule]
        runs.append(curated(root, range(low, high), texts, recipe_of(*process)))
    found = verdicts(root, *runs)
    assert sum(row[2] is not None for row in wanted.values()) > 150
    assert {row: found[row] for row in range(360, 400)} == {row: wanted[row] for row in range(360, 400)}
    kept, fewer = ({row for row, verdict in told.items() if verdict[0] == "keep"} for told in (found, wanted))
    assert fewer <= kept  # more only where a later row shows that two kept ones are copies
    assert (kept == fewer) == (not any("turn out to be copies" in text for run in runs for text in run.warnings))


def test_a_bridge_between_kept_rows_is_told(tmp_path: Path) -> None:
    [text] = prose(1)
    words = len(text.split())
    left = without(without(text, 3), 9)
    right = without(without(text, words - 4), words - 10)
    strict = {"threshold": 0.78}
    root = tmp_path / "root"
    first = curated(root, range(2), [left, right], recipe_of({"near_duplicates": strict}))
    assert first.kept == 2
    process = {"near_duplicates": {**strict, "against": first.run}}
    second = curated(root, [2], [left, right, text], recipe_of(process))
    assert second.kept == 0 and verdicts(root, first, second)[2][2] == 0
    assert any("1 row(s) that runs up to" in text for text in second.warnings)


def test_an_earlier_row_is_the_keeper_however_long_the_new_one(tmp_path: Path) -> None:
    [text] = prose(1)
    root = tmp_path / "root"
    first = curated(root, range(1), [text], recipe_of({"near_duplicates": {"threshold": 0.6, "keep": "longest"}}))
    longer = f"{text} And these words more."
    process = {"near_duplicates": {"threshold": 0.6, "keep": "longest", "against": first.run}}
    second = curated(root, range(1, 3), [text, longer, longer], recipe_of(process))
    assert {row: verdict[2] for row, verdict in verdicts(root, first, second).items()} == {0: None, 1: 0, 2: 0}
    assert what_if(str(root), second.run, {"near_duplicates.threshold": 1.0}).kept == 1
    with pytest.raises(RecipeError, match="what-if compares a run's rows with what the run itself was given"):
        what_if(str(root), second.run, {"near_duplicates.against": None})


def test_an_operator_that_names_no_run_looks_at_its_own_rows(tmp_path: Path) -> None:
    texts = [*prose(3), prose(1)[0]]
    root = tmp_path / "root"
    first = curated(root, range(2), texts, recipe_of("exact_duplicates", NEAR))
    process = ["exact_duplicates", {"near_duplicates": {"threshold": 0.7, "against": first.run}}]
    second = curated(root, range(2, 4), texts, recipe_of(*process))
    assert verdicts(root, first, second)[3] == ("drop", "near_duplicate", 0, 1.0)


def test_keep_best_keeps_the_row_furthest_within_the_rules(tmp_path: Path) -> None:
    [text] = prose(1)
    texts = [f"{text} 1 2 3 4 5 6 7 8 9", text, f"{text} 1 2 3"]
    process = [{"near_duplicates": {"threshold": 0.5, "keep": "best"}}, {"composition": {"max_digit_share": 0.2}}]
    run = curated(tmp_path / "root", range(3), texts, recipe_of(*process))
    assert [verdict[2] for verdict in verdicts(tmp_path / "root", run).values()] == [1, None, 1]
    with pytest.raises(RecipeError, match="no rule says which is better"):
        curated(tmp_path / "none", range(3), texts, recipe_of({"near_duplicates": {"keep": "best"}}))


@pytest.mark.parametrize("keep", ["first", "longest"])
def test_rows_of_one_address_fall_but_one_in_one_run_or_in_two(tmp_path: Path, keep: str) -> None:
    """Whatever they say, and however the address is spelled; a row without one stays."""
    texts = [" ".join(["word"] * (5 + row * 13 % 40)) for row in range(200)]
    pages = {row: row * 7 % 80 if row % 9 else -1 - row for row in range(200)}

    def wanted(rows: range, earlier: range = range(0)) -> dict[int, tuple[Any, ...]]:
        found: dict[int, tuple[Any, ...]] = {}
        for row in rows:
            mine = [other for other in earlier if pages[other] == pages[row]]
            mine = mine or [other for other in rows if pages[other] == pages[row]]
            keeper = max(mine, key=lambda other: (keep == "longest" and len(texts[other]), -other))
            found[row] = ("drop", "url_duplicate", keeper, 1.0) if keeper != row else ("keep", None, None, None)
        return found

    op = {"keep": keep}
    whole = curated(tmp_path / "whole", range(200), texts, recipe_of({"url_duplicates": op}))
    assert verdicts(tmp_path / "whole", whole) == wanted(range(200)) and whole.reasons["url_duplicate"] > 90
    root = tmp_path / "parts"
    first = curated(root, range(100), texts, recipe_of({"url_duplicates": op}))
    second = curated(root, range(100, 200), texts, recipe_of({"url_duplicates": {**op, "against": first.run}}))
    found = verdicts(root, first, second)
    assert found == wanted(range(100)) | wanted(range(100, 200), range(100))
    assert what_if(str(root), second.run, {"url_duplicates.keep": "first"}).rows == 100
    with pytest.raises(RecipeError, match="what-if reads no text again"):
        what_if(str(root), second.run, {"url_duplicates.column": "text"})
    with pytest.raises(RecipeError, match="compared its rows by url, not by content"):
        curated(root, range(2), texts, recipe_of({"exact_duplicates": {"against": first.run}}))


def test_addresses_and_contents_fall_in_the_recipes_order(tmp_path: Path) -> None:
    texts = texts_in_families(160, 3)
    rule = {"length": {"min_words": 5}}
    orders = [["url_duplicates", "exact_duplicates", NEAR, rule], [rule, NEAR, "exact_duplicates", "url_duplicates"]]
    kinds = ("url_duplicate", "exact_duplicate", "near_duplicate", "too_short")
    for place, process in enumerate(orders):
        root = tmp_path / str(place)
        run = curated(root, range(160), texts, recipe_of(*process))
        told = verdicts(root, run)
        assert run.reasons[kinds[-place]] > 10 and set(run.reasons) <= set(kinds)
        for action, reason, keeper, similarity in told.values():
            if keeper is not None:
                assert action == "drop" and told[keeper][1] != "too_short"
                assert reason != "url_duplicate" or similarity == 1
        if place == 0:  # of every page with a readable row one stays for the operators after it
            pages = {row * 7 % 80 for row in range(160) if row % 9 and len(texts[row].split()) >= 5}
            fallen = sum(verdict[1] == "url_duplicate" for verdict in told.values())
            assert fallen == sum(row % 9 > 0 and len(texts[row].split()) >= 5 for row in range(160)) - len(pages)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"seed": 3}, "seed 3 for 0"),
        ({"process": [{"near_duplicates": {"ngram": 4}}]}, "ngram 4 for 5"),
        ({"process": [{"near_duplicates": {"against": f"run_{'0' * 32}"}}]}, "there is no run run_0000"),
        (
            {"process": [{"exact_duplicates": {"against": f"run_{'0' * 32}"}}, "near_duplicates"]},
            "duplicates are sought against",
        ),
    ],
)
def test_an_earlier_run_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    root = tmp_path / "root"
    first = curated(root, range(2), prose(2), recipe_of(NEAR))
    recipe = {**recipe_of("near_duplicates"), **change}
    last = recipe["process"][-1]
    options = {"against": first.run, **({} if isinstance(last, str) else last["near_duplicates"])}
    recipe["process"] = [*recipe["process"][:-1], {"near_duplicates": options}]
    before = json.dumps(sorted(Store.open(root).list()))
    with pytest.raises(RecipeError, match=complaint):
        curated(root, range(2), prose(2), recipe)
    assert json.dumps(sorted(Store.open(root).list())) == before


def test_an_earlier_run_of_another_version_is_refused_in_words(tmp_path: Path) -> None:
    root = tmp_path / "root"
    first = curated(root, range(2), prose(2), recipe_of(NEAR))
    name = f"runs/{first.run}/plan.json"
    plan = json.loads(Store.open(root).read_bytes(name))
    Store.open(root).write_bytes(name, json.dumps({**plan, "version": plan["version"] - 1}).encode())
    with pytest.raises(RecipeError, match=r"made by another version of Winnow.*curate its data again"):
        curated(root, range(2), prose(2), recipe_of({"near_duplicates": {"against": first.run}}))
    with pytest.raises(ConflictError, match="use that version, or start a new run"):
        what_if(str(root), first.run, {"near_duplicates.threshold": 0.9})


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_ray_and_inline_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pipelines.cluster.session")
    texts = texts_in_families(300, 5)
    found = []
    for engine in ("inline", "ray"):
        root = tmp_path / engine
        first = curated(root, range(200), texts, recipe_of("exact_duplicates", NEAR, "url_duplicates"), engine=engine)
        process = [{"near_duplicates": {"threshold": 0.7, "against": first.run}}, "url_duplicates"]
        second = curated(root, range(200, 300), texts, recipe_of("exact_duplicates", *process), engine=engine)
        found.append(verdicts(root, first, second))
    assert found[0] == found[1]
