"""The encoder's sample is uniform by sample id and bounded; equal rows in another layout get the same verdicts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipelines.sample as sample
from agents.encoders.text import TextEncoder
from curator.ledger import Ledger
from curator.recipe import parse
from curator.run import RunRequest, RunSummary
from curator.settings import Settings
from curator.storage import Store
from pipelines.execute import execute
from tests.pipelines.conftest import MemoryJournal

Laid = tuple[RunSummary, dict[str, dict[str, Any]], dict[str, Any]]


@pytest.fixture
def rows(labelled: dict[str, Path]) -> pa.Table:
    """Sorted by label, as files often are."""
    return pa.concat_tables([pq.read_table(labelled["a"]), pq.read_table(labelled["b"])]).sort_by("label")


def laid(folder: Path, rows: pa.Table, row_group_size: int, trusted: Path | None = None, **changes: Any) -> Laid:
    """(summary, the ledger by id, the encoder step's output) of a run over the rows in row groups of that size."""
    folder.mkdir()
    pq.write_table(rows, folder / "data.parquet", row_group_size=row_group_size)
    recipe = {
        "task": "classification",
        "columns": {"text": "text", "label": "label"},
        "policy": {"kind": "learned", "max_false_drop": 0.1},
        "unit_rows": 100,
        **changes,
    }
    request = RunRequest(
        inputs=(str(folder / "data.parquet"),),
        recipe=parse(recipe).model_dump(mode="json"),
        trusted=None if trusted is None else str(trusted),
        dataset_version="dv_same_rows",
    )
    journal = MemoryJournal()
    summary = execute(SimpleNamespace(id="run_1", request=request), journal, Settings(root=str(folder / "root")))
    batches = Ledger(Store.open(folder / "root"), "run_1").scan()
    ledger = {row["id"]: row for batch in batches for row in batch.to_pylist()}
    said = journal.outputs["encoder"][-1]
    return summary, ledger, {name: said[name] for name in ("encoder", "rows")}


def test_equal_rows_in_any_row_groups_and_units_get_the_same_verdicts(
    tmp_path: Path, rows: pa.Table, labelled: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much of the sample was set aside while scoring: all of it, some, none."""
    monkeypatch.setattr(TextEncoder, "fit_rows", 160)
    found = {}
    for size, aside in {50: 250, 100: 22_000, 600: 40}.items():
        monkeypatch.setattr(sample, "ASIDE_ROWS", aside)
        found[size] = laid(tmp_path / str(size), rows, size, labelled["trusted"])
    summary, ledger, encoder = found[100]
    assert encoder == {"encoder": "builtin", "rows": 160} and summary.relabeled > 0
    for size, (other, verdicts, _) in found.items():
        assert other.policy == summary.policy and verdicts == ledger, size
    assert found[50][0].manifest == summary.manifest, "the units are the same, of two row groups each"


def test_a_sorted_file_gives_a_sample_of_every_part(
    tmp_path: Path, rows: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[pa.Array] = []
    whole = TextEncoder.fit
    monkeypatch.setattr(TextEncoder, "fit_rows", 200)
    monkeypatch.setattr(TextEncoder, "fit", lambda self, texts, seed: (seen.append(texts), whole(self, texts, seed)))
    laid(tmp_path / "sorted", rows, 600)
    places = np.array([rows["text"].to_pylist().index(text) for text in seen[0].to_pylist()])
    thirds = np.bincount(places // 200, minlength=3)
    assert len(places) == 200 and thirds.min() > 40, "the first rows alone would be of one label"


def test_the_sample_is_bounded_in_bytes(tmp_path: Path, rows: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[pa.Array] = []
    monkeypatch.setattr(TextEncoder, "fit_bytes", 5_000)
    monkeypatch.setattr(TextEncoder, "fit", lambda self, texts, seed: seen.append(texts))
    *_, encoder = laid(tmp_path / "wide", rows, 100)
    assert 0 < encoder["rows"] < 40 and sum(map(len, seen[0].to_pylist())) <= 5_000


def test_rows_without_content_teach_the_encoder_nothing(
    tmp_path: Path, rows: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[pa.Array] = []
    monkeypatch.setattr(TextEncoder, "fit", lambda self, texts, seed: seen.append(texts))
    texts = [None if n % 3 == 0 else "" if n % 3 == 1 else text for n, text in enumerate(rows["text"].to_pylist())]
    laid(tmp_path / "gaps", rows.set_column(1, "text", pa.array(texts)), 100)
    assert sorted(seen[0].to_pylist()) == sorted(text for text in texts if text)


def test_a_recipe_of_rules_encodes_nothing(tmp_path: Path, rows: pa.Table) -> None:
    text = {"task": "text", "columns": {"text": "text"}, "policy": {"kind": "rules"}}
    *_, encoder = laid(tmp_path / "rules", rows, 100, **text)
    assert encoder == {"encoder": None, "rows": 0}
    assert not list((tmp_path / "rules").rglob("*.embeddings.arrow"))
