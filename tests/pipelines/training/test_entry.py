"""Jobs of the catalog: claimed once, trained, reported, and their end written down whatever it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curator.catalog import LOCAL_TENANT, Catalog, JobState, TrainingJob
from curator.epochs.plan import EpochPlan
from curator.errors import ConflictError, InputError, NotFoundError, RequestError, TransportError
from curator.settings import Settings
from curator.shards import Manifest
from curator.storage import Store
from pipelines.training import entry
from pipelines.training.checkpoint import CHECKPOINT, MODEL, load_model
from pipelines.training.entry import ENTRIES, checkpoint_dir, run_job
from pipelines.training.presets import PRESETS
from pipelines.training.report import StepRecord
from tests.pipelines.training.examples import SMALL, texts, write_curated

ROOT = Path(__file__).parents[3]
RECIPE = SMALL["text-classifier"]


class Office:
    """A root with a manifest, its settings and its catalog."""

    def __init__(self, root: Path):
        self.settings = Settings(root=str(root), heartbeat_s=0.001)
        self.manifest: Manifest = write_curated(Store.open(root), texts(150))
        self.catalog = Catalog.open(self.settings.database_url)

    def job(self, mode: Any = "managed", plan: str | None = None, **spec: Any) -> TrainingJob:
        made = {
            "entry": RECIPE.kind,
            "manifest": self.manifest.id,
            "recipe": RECIPE.model_dump(mode="json"),
            "name": "",
            "resources": {},
        }
        return self.catalog.jobs.create(LOCAL_TENANT, mode, plan=plan, spec={**made, **spec})

    def row(self, job: TrainingJob) -> TrainingJob:
        return self.catalog.jobs.get(LOCAL_TENANT, job.id)

    def feedback_rows(self, job: TrainingJob) -> list[dict[str, Any]]:
        """What counts, as a reader of the catalog finds it."""
        rows = []
        for batch in self.catalog.feedback.batches(LOCAL_TENANT, job.id):
            table = pa.ipc.open_file(pa.memory_map(f"{self.settings.root}/{batch.path}")).read_all()
            rows += table.filter(pa.array(batch.counts())).to_pylist()
        return rows


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.catalog.close()


def test_a_job_is_trained_and_its_row_says_so(office: Office) -> None:
    job = office.job()
    report = run_job(office.catalog, office.settings, job.id)
    row = office.row(job)
    assert row.state == JobState.SUCCEEDED and report.finished and report.training_job == job.id
    assert row.result is not None
    assert row.result["feedback"] == {"rows": report.num_samples, "accepted": report.num_samples, "clipped": 0}
    assert row.result["losses"] == list(report.losses)
    rows = office.feedback_rows(job)
    assert len(rows) == report.num_samples and set(rows[0]) == {"sample_id", "epoch", "step", "loss", "correct"}
    assert load_model(checkpoint_dir(office.settings, job.id)).classes == ("science", "sport", "trade")


def test_a_stopped_job_waits_and_goes_on(office: Office) -> None:
    whole = run_job(office.catalog, office.settings, office.job().id)
    job = office.job()
    steps: list[int] = []
    part = run_job(
        office.catalog,
        office.settings,
        job.id,
        on_step=lambda record: steps.append(record.step),
        should_stop=lambda: len(steps) == 6,
    )
    assert not part.finished and office.row(job).state == JobState.QUEUED
    rest = run_job(office.catalog, office.settings, job.id)
    assert rest.finished and rest.resumed_from == 6 and rest.losses == whole.losses
    assert len(office.feedback_rows(job)) == whole.num_samples
    assert office.row(job).state == JobState.SUCCEEDED


def test_feedback_of_steps_done_twice_counts_once(office: Office) -> None:
    """A process that dies after it reported and before it saved its checkpoint reports those rows again."""
    job = office.job()
    office.catalog.jobs.move(LOCAL_TENANT, job.id, JobState.RUNNING)
    with pytest.raises(ConflictError):
        run_job(office.catalog, office.settings, job.id)
    store = Store.open(checkpoint_dir(office.settings, job.id))
    saved: list[bytes] = []

    def keep(record: StepRecord) -> None:
        if record.step == 7:
            saved.append(store.read_bytes(CHECKPOINT))

    whole = run_job(office.catalog, office.settings, job.id, resume=True, on_step=keep)
    again = office.job()
    folder = Store.open(checkpoint_dir(office.settings, again.id))
    first = run_job(office.catalog, office.settings, again.id, should_stop=lambda: True)
    before = folder.read_bytes(CHECKPOINT)
    run_job(office.catalog, office.settings, again.id, should_stop=lambda: True)
    folder.write_bytes(CHECKPOINT, before)
    last = run_job(office.catalog, office.settings, again.id)
    assert first.steps == 1 and last.resumed_from == 1 and saved
    assert office.feedback_rows(again) == office.feedback_rows(job)
    assert last.losses == whole.losses


def test_a_cancelled_job_stops_and_stays_cancelled(office: Office) -> None:
    job = office.job()
    jobs = office.catalog.jobs

    def cancel(record: StepRecord) -> None:
        if record.step == 3:
            jobs.move(LOCAL_TENANT, job.id, JobState.CANCELLED)

    report = run_job(office.catalog, office.settings, job.id, on_step=cancel)
    assert not report.finished and 3 <= report.steps < report.total_steps
    assert office.row(job).state == JobState.CANCELLED


def test_a_plan_decides_epochs_batch_curriculum_and_seed(office: Office) -> None:
    plan = EpochPlan.of(
        office.manifest, curriculum="constant", num_epochs=2, seed=5, global_batch_size=10, tail="short"
    )
    office.catalog.manifests.record(LOCAL_TENANT, office.manifest.id, path="m", shards=[])
    row = office.catalog.plans.create(LOCAL_TENANT, office.manifest.id, plan.model_dump(mode="json"), digest=plan.id)
    report = run_job(office.catalog, office.settings, office.job(plan=row.id, manifest=None).id)
    assert report.plan == plan.id and report.steps == plan.num_batches(0) + plan.num_batches(1) == 30


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ({"entry": "os.system"}, RequestError, "names the entry 'os.system'"),
        ({"entry": "image-classifier"}, RequestError, "recipe of kind 'text-classifier'"),
        ({"manifest": "man_" + "0" * 32}, NotFoundError, "man_0000"),
        ({"recipe": {"kind": "text-classifier", "epoch": 1}}, RequestError, "did you mean 'epochs'"),
    ],
)
def test_a_wrong_request_fails_the_job_with_its_reason(
    office: Office, spec: dict[str, Any], error: type[Exception], message: str
) -> None:
    job = office.job(**spec)
    with pytest.raises(error, match=message):
        run_job(office.catalog, office.settings, job.id)
    row = office.row(job)
    assert row.state == JobState.FAILED and row.error is not None and message in row.error["message"]


def test_a_row_that_cannot_be_read_fails_the_job(office: Office) -> None:
    table = texts(60).set_column(1, "text", pa.array([None, *["x"] * 59]))
    job = office.job(manifest=write_curated(Store.open(office.settings.root), table).id)
    with pytest.raises(InputError, match="is null"):
        run_job(office.catalog, office.settings, job.id)
    error = office.row(job).error
    assert error is not None and error["code"] == "bad_input" and "is null" in error["message"]


def _silent(*_: Any, **__: Any) -> Any:
    raise TransportError("the store did not answer")


def test_a_passing_fault_puts_the_job_back(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    job = office.job()
    monkeypatch.setattr(entry, "open_rows", _silent)
    with pytest.raises(TransportError):
        run_job(office.catalog, office.settings, job.id)
    assert office.row(job).state == JobState.QUEUED


def test_a_job_under_the_callers_lease_is_the_callers_to_give_back(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the runner does it: claim, beat, train, release. The lease holds throughout."""
    made, jobs = office.job(), office.catalog.jobs
    claimed = jobs.claim("runner", 60.0)
    assert claimed is not None and claimed.id == made.id
    part = run_job(office.catalog, office.settings, made.id, resume=True, should_stop=lambda: True)
    assert part.steps == 1 and office.row(made).state == JobState.RUNNING
    jobs.heartbeat(claimed, 60.0, {"step": 1})
    with monkeypatch.context() as patched:
        patched.setattr(entry, "open_rows", _silent)
        with pytest.raises(TransportError):
            run_job(office.catalog, office.settings, made.id, resume=True)
    jobs.release(claimed)
    again = jobs.claim("other runner", 60.0)
    assert again is not None and again.fence == claimed.fence + 1
    whole = run_job(office.catalog, office.settings, made.id, resume=True)
    assert whole.finished and whole.resumed_from == 1 and office.row(made).state == JobState.SUCCEEDED


def test_only_waiting_managed_jobs_are_taken(office: Office) -> None:
    with pytest.raises(ConflictError, match="is external"):
        run_job(office.catalog, office.settings, office.job(mode="external", entry=None, recipe=None).id)
    with pytest.raises(NotFoundError):
        run_job(office.catalog, office.settings, "trn_absent")
    done = office.job()
    run_job(office.catalog, office.settings, done.id)
    with pytest.raises(ConflictError, match="succeeded"):
        run_job(office.catalog, office.settings, done.id)


def test_the_process_runs_a_job_and_says_how_it_ended(office: Office) -> None:
    job = office.job()
    command = [sys.executable, "-m", "pipelines.training.entry", "--root", office.settings.root, "--job"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    done = subprocess.run([*command, job.id], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["finished"] and office.row(job).state == JobState.SUCCEEDED
    assert (Path(office.settings.root) / "training" / job.id / MODEL).exists()
    absent = subprocess.run([*command, "trn_absent"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert absent.returncode == 2 and "no training job 'trn_absent'" in absent.stderr


def test_every_entry_is_a_kind_of_recipe() -> None:
    assert {recipe.kind for recipe in PRESETS.values()} == set(ENTRIES)
