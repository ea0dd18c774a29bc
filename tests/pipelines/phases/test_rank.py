"""The difficulty model is fitted on kept rows: some of them always, and no more of them than is bounded."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipelines.phases.rank as phase
import pipelines.sample as sample
from curator.ledger import Ledger
from curator.recipe import parse
from curator.run import RunRequest, RunSummary
from curator.sample_id import from_ids
from curator.settings import Settings
from curator.signals.surprisal import SurprisalModel
from curator.storage import Store
from pipelines.execute import execute
from tests.pipelines.conftest import MemoryJournal
from tests.pipelines.phases.test_resolve import prose
from tests.pipelines.test_lineage import curated, recipe_of


def ranked(folder: Path, texts: list[str], row_group_size: int = 64) -> tuple[RunSummary, dict[str, Any], bytes]:
    """(summary, rank's output, the model) of a run that keeps texts of at most 60 characters."""
    folder.mkdir()
    table = pa.table({"id": range(len(texts)), "text": texts})
    pq.write_table(table, folder / "data.parquet", row_group_size=row_group_size)
    recipe = {
        "task": "text",
        "columns": {"text": "text"},
        "process": [{"length": {"min_words": 1, "max_chars": 60}}],
        "unit_rows": 64,
    }
    request = RunRequest(inputs=(str(folder / "data.parquet"),), recipe=parse(recipe).model_dump(mode="json"))
    journal = MemoryJournal()
    summary = execute(SimpleNamespace(id="run_1", request=request), journal, Settings(root=str(folder / "root")))
    model = (folder / "root" / "runs" / "run_1" / "difficulty" / "surprisal.bin").read_bytes()
    return summary, journal.outputs["rank"][-1], model


def test_one_kept_row_among_far_more_bytes_is_what_the_model_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under any id: a share of all bytes would leave most single rows out."""
    monkeypatch.setattr(phase, "TEXT_BYTES", 20)
    for kept in range(4):
        texts = ["a very long text indeed, " * 400] * 200
        texts[kept] = f"the only text that is short enough to be kept, {kept}"
        summary, output, model = ranked(tmp_path / str(kept), texts)
        assert (summary.kept, output["rows"]) == (1, 1)
        assert model == SurprisalModel.fit(pa.array([texts[kept]]), seed=0).to_bytes()


@pytest.mark.parametrize("aside", [0, 60])
def test_the_model_learns_the_kept_rows_of_lowest_ids_whatever_the_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aside: int
) -> None:
    monkeypatch.setattr(phase, "TEXT_BYTES", 1_000)
    monkeypatch.setattr(sample, "ASIDE_ROWS", aside)
    texts = [f"text {n} " * (4 if n % 3 else 100) for n in range(600)]
    names = from_ids(pa.array(range(600))).to_pylist()
    chosen: list[str] = []
    for _, text in sorted(zip(names, texts, strict=True)):
        if len(text) <= 60:
            if sum(map(len, chosen)) + len(text) > 1_000:
                break
            chosen.append(text)
    expected = SurprisalModel.fit(pa.array(chosen), seed=0).to_bytes()
    for size in (64, 150):
        _, output, model = ranked(tmp_path / str(size), texts, size)
        assert output["rows"] == len(chosen) > 20 and model == expected


@pytest.mark.parametrize("enough", [True, False])
def test_later_rows_are_measured_by_an_earlier_runs_model_where_it_saw_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, enough: bool
) -> None:
    monkeypatch.setattr(phase, "TEXT_BYTES", 1_000 if enough else 100_000)
    texts = [f"{text[:50]} {n}" for n, text in enumerate(prose(40))]
    root = tmp_path / "root"
    first = curated(root, range(20), texts, recipe_of("exact_duplicates"))
    second = curated(root, range(20, 40), texts, recipe_of({"exact_duplicates": {"against": first.run}}))
    models = [(root / "runs" / run.run / "difficulty" / "surprisal.bin").read_bytes() for run in (first, second)]
    assert (models[0] == models[1]) == enough
    rows = [
        row
        for run in (first, second)
        for batch in Ledger(Store.open(root), run.run).scan()
        for row in batch.to_pylist()
    ]
    for row in rows:
        model = SurprisalModel.from_bytes(models[row["id"] >= 20])
        assert row["difficulty_score"] == model.score(pa.array([texts[row["id"]]]))[0]
