"""`winnow train` on a root and on a server: the same model, resumable, its feedback back where the shards came from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curator.catalog import LOCAL_TENANT, Catalog, JobState
from curator.errors import NotFoundError, RecipeError, RequestError
from curator.shards.source import StoreSource
from curator.storage import Store
from pipelines.training import command
from pipelines.training.checkpoint import MODEL
from pipelines.training.command import train_command
from pipelines.training.feedback import FEEDBACK_SCHEMA
from pipelines.training.report import StepRecord
from tests.pipelines.training.examples import SMALL, texts, write_curated

RECIPE = SMALL["text-classifier"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "root"


def _recipe_file(folder: Path) -> Path:
    (folder / "recipe.json").write_text(RECIPE.model_dump_json())
    return folder / "recipe.json"


def _interrupt_at(step: int) -> Any:
    """Ctrl-C in the middle of a step, as a terminal sends it."""
    return lambda record: os.kill(os.getpid(), signal.SIGINT) if record.step == step else None


def test_on_a_root_the_same_command_goes_on(root: Path) -> None:
    manifest = write_curated(Store.open(root), texts(150)).id
    part = train_command(manifest, RECIPE, root=str(root), on_step=_interrupt_at(5))
    assert not part.finished and part.steps == 5
    whole = train_command(manifest, _recipe_file(root), root=str(root))
    assert whole.finished and whole.resumed_from == 5 and whole.training_job == part.training_job
    assert (root / "training" / whole.training_job / MODEL).exists()
    with Catalog.open(f"sqlite:///{root}/winnow.db") as catalog:
        row = catalog.jobs.get(LOCAL_TENANT, whole.training_job)
        batches = catalog.feedback.batches(LOCAL_TENANT, whole.training_job)
    assert row.state == JobState.SUCCEEDED and row.mode == "external" and row.spec["manifest"] == manifest
    assert sum(batch.accepted for batch in batches) == whole.num_samples
    again = train_command(manifest, RECIPE, root=str(root))
    assert again.finished and again.losses == whole.losses and again.seconds == whole.seconds


def test_what_is_refused_leaves_nothing_behind(root: Path) -> None:
    manifest = write_curated(Store.open(root), texts(20)).id
    before = sorted(path for path in root.rglob("*"))
    with pytest.raises(RecipeError, match="no training recipe 'text-clasifier'"):
        train_command(manifest, "text-clasifier", root=str(root))
    with pytest.raises(RequestError, match="cannot fill one global batch"):
        train_command(manifest, "text-classifier", root=str(root))
    with pytest.raises(NotFoundError):
        train_command("man_" + "0" * 32, RECIPE, root=str(root))
    with pytest.raises(RequestError, match="not both"):
        train_command(manifest, RECIPE, root=str(root), url="http://127.0.0.1:1")
    assert sorted(path for path in root.rglob("*")) == before


class Server:
    """Answers as a Client does, from a root."""

    def __init__(self, root: Path):
        self.root, self.jobs, self.asked, self.tables = root, self, [], []  # type: ignore[var-annotated]
        self.is_open = False

    def __enter__(self) -> Server:
        self.is_open = True
        return self

    def __exit__(self, *_: object) -> None:
        self.is_open = False

    def shard_source(self) -> StoreSource:
        return StoreSource(str(self.root))

    def create(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        return {"id": f"trn_server_{len(self.asked)}"}

    def feedback(self, job: str, table: pa.Table) -> int:
        assert self.is_open
        self.tables.append((job, table))
        return table.num_rows


def test_with_a_server_a_resumed_job_is_still_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_curated(Store.open(root), texts(150)).id
    server = Server(root)
    monkeypatch.setattr(command, "Client", lambda url, key: server)

    def heard(record: StepRecord) -> None:
        _interrupt_at(5)(record)

    part = train_command(manifest, RECIPE, url="http://server", on_step=heard)
    whole = train_command(manifest, RECIPE, url="http://server")
    assert not part.finished and whole.finished and whole.resumed_from == 5
    assert not server.is_open
    assert server.asked == [{"manifest": manifest, "mode": "external", "name": "train"}]
    assert {job for job, _ in server.tables} == {"trn_server_1"} == {whole.training_job}
    assert all(table.schema == FEEDBACK_SCHEMA for _, table in server.tables)
    assert sum(table.num_rows for _, table in server.tables) == whole.num_samples
    on_root = train_command(manifest, RECIPE, root=str(root))
    assert on_root.losses == whole.losses


def test_with_a_server_no_database_is_needed() -> None:
    """What `pip install winnow-curation[train]` brings is enough."""
    code = "import sys; sys.modules.update({name: None for name in ('sqlalchemy', 'alembic', 'fastapi', 'ray')})"
    code += "; import pipelines.training.command, pipelines.training.compare"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
