"""Rows that hold a benchmark's words, whose signals name its row, or many words of a list, are dropped."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.errors import RequestError
from pipelines.signal_rows import signal_rows
from pipelines.what_if import what_if
from tests.pipelines.phases.test_resolve import TEXT, curated, prose


def test_a_row_with_a_benchmarks_words_is_dropped_and_names_its_row(tmp_path: Path) -> None:
    texts, tests = prose(4), prose(3, seed=77)
    pq.write_table(pa.table({"question": tests[:1]}), tmp_path / "one.parquet")
    pq.write_table(pa.table({"question": tests[1:]}), tmp_path / "two.parquet")
    part = " ".join(tests[2].upper().replace(" ", " -- ").split(" -- ")[3:20])
    rows = [{"id": place, "text": text} for place, text in enumerate([*texts[:2], f"{texts[2]} {part}. {texts[3]}"])]
    files = [str(tmp_path / name) for name in ("one.parquet", "two.parquet")]
    recipe = {**TEXT, "process": [{"decontaminate": {"files": files, "column": "question"}}]}
    summary, ledger = curated(tmp_path, rows, recipe)
    assert [(row["action"], row["reason"]) for row in ledger.values()] == [("keep", None)] * 2 + [("drop", "benchmark")]
    _, batches = signal_rows(str(tmp_path / "root"), summary.run)
    told = pa.Table.from_batches(list(batches)).to_pylist()[2]
    assert [told[f"signal.benchmark_{name}"] for name in ("grams", "file", "row")] == [5, 1, 1]
    assert what_if(str(tmp_path / "root"), summary.run, {"decontaminate.max_grams": 5}).kept == 3
    with pytest.raises(RequestError, match="what-if reads no text again"):
        what_if(str(tmp_path / "root"), summary.run, {"decontaminate.ngram": 8})


def test_a_benchmark_that_is_not_there_is_a_wrong_request(tmp_path: Path) -> None:
    recipe = {**TEXT, "process": [{"decontaminate": {"files": [str(tmp_path / "none.parquet")]}}]}
    with pytest.raises(RequestError, match=r"none\.parquet"):
        curated(tmp_path, [{"id": 0, "text": "a"}], recipe)
    assert not (tmp_path / "root/runs").exists()


def test_a_recipe_drops_by_its_list_of_words(tmp_path: Path) -> None:
    rows = [{"id": 0, "text": "all is well here"}, {"id": 1, "text": "bad bad things"}]
    recipe = {**TEXT, "process": [{"word_list": {"words": ["Bad"], "max_share": 0.5}}]}
    summary, ledger = curated(tmp_path, rows, recipe)
    assert [row["reason"] for row in ledger.values()] == [None, "listed_words"]
    assert what_if(str(tmp_path / "root"), summary.run, {"word_list.max_share": 0.7}).kept == 2
    with pytest.raises(RequestError, match="change max_share"):
        what_if(str(tmp_path / "root"), summary.run, {"word_list.words": ["all"]})
