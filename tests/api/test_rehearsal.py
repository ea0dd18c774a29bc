"""A dry run has bounds: of time, of memory, of how many are under way; and its process holds no secret."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from api import rehearsal
from api.errors import Refusal
from api.rehearsal import Rehearsals
from curator.catalog import DatasetVersion
from curator.errors import RequestError, RetryableError
from curator.recipe import parse
from curator.settings import Settings

RECIPE = parse({"task": "text", "columns": {"text": "text"}})


@pytest.fixture
def version(tmp_path: Path) -> DatasetVersion:
    """Twenty rows, read as the inspection would."""
    from api.inspection import inspected

    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"id": n, "text": f"Row {n} of some text."}) + "\n" for n in range(20))
    )
    place = str(tmp_path / "rows.jsonl")
    found = inspected([place])
    about = {"dataset": "ds_1", "number": 1, "state": "ready", "inputs": (place,), "error": None}
    return DatasetVersion(**about, **found, created_at="2026-01-01T00:00:00Z")


def test_a_learned_recipe_is_tried_where_torch_may_be_loaded(version: DatasetVersion) -> None:
    """Without a trusted sample the policy has nothing to learn from, and the dry run says so as a run does."""
    learned = parse({"task": "text", "columns": {"text": "text"}, "policy": {"kind": "learned"}})
    told = Rehearsals(Settings()).tried("t", version, learned, 10)
    assert (told["rows"], told["kept"]) == (10, 10)
    [group] = told["verdicts"]
    assert [example["values"]["id"] for example in group["examples"]] == [0, 1, 2]
    assert any("no policy was learned" in warning for warning in told["warnings"]), told["warnings"]


def test_one_that_takes_too_long_is_ended(version: DatasetVersion) -> None:
    trials = Rehearsals(Settings(dry_run_s=0.01))
    with pytest.raises(RequestError, match=r"longer than 0\.01 s \(WINNOW_DRY_RUN_S\)"):
        trials.tried("t", version, RECIPE, 10)
    assert trials._children == set()


def test_one_that_takes_too_much_memory_is_ended(version: DatasetVersion) -> None:
    with pytest.raises(RequestError) as refused:
        Rehearsals(Settings(inspection_memory_bytes=2**20)).tried("t", version, RECIPE, 10)
    assert "/" not in str(refused.value), "no folder of the server's is told of"


def test_there_are_only_so_many_at_once(version: DatasetVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    trials, begun, go_on = Rehearsals(Settings()), threading.Barrier(3), threading.Event()
    told = {"found": {"rows": 3}}

    def held(asked: dict[str, Any]) -> dict[str, Any]:
        if not go_on.is_set():
            begun.wait(20)
            go_on.wait(20)
        return told

    monkeypatch.setattr(trials, "_answer", held)
    others = [threading.Thread(target=trials.tried, args=(name, version, RECIPE, 3)) for name in ("a", "b")]
    for other in others:
        other.start()
    begun.wait(20)
    for tenant in ("a", "c"):
        with pytest.raises(Refusal, match="under way") as refused:
            trials.tried(tenant, version, RECIPE, 3)
        assert (refused.value.status, refused.value.code) == (429, "too_many_dry_runs")
    go_on.set()
    for other in others:
        other.join(60)
    assert trials.tried("a", version, RECIPE, 3) == {"rows": 3}, "there is room again"


def test_its_process_is_given_no_secret(version: DatasetVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, str] = {}

    def noting(*args: Any, env: dict[str, str], **kw: Any) -> Any:
        given.update(env)
        raise OSError("no more processes")

    for name in ("WINNOW_API_KEY", "WINNOW_DATABASE_URL", "RAY_AUTH_TOKEN", "OTEL_EXPORTER_OTLP_HEADERS"):
        monkeypatch.setenv(name, "hush")
    monkeypatch.setattr(rehearsal.subprocess, "Popen", noting)
    with pytest.raises(RetryableError, match="no more processes"):
        Rehearsals(Settings()).tried("t", version, RECIPE, 3)
    assert given and "hush" not in given.values()
