"""/v1/training-jobs: training here or elsewhere, and what it reports of each row.

Parses and answers; a runner does the training, `api/feedback_rows.py` takes the reports.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal, get_args

from fastapi import Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ConfigDict, Field, ValidationError, model_validator
from starlette.responses import Response

from api.auth import Caller, Feeder, Reader, Writer
from api.bodies import Body, VersionedView, View, routes_under
from api.feedback_rows import NOTHING_BY_SAMPLE, Accepted, accept, accept_epoch, table_of_arrow, table_of_rows
from api.manifest_shelf import known_manifest
from api.once import create_once
from api.replies import accepted, if_match, reply, unchanged
from api.run_views import without_root
from api.service import service_of
from curator.catalog import JobState, TrainingJob
from curator.epochs.adaptive import Losses
from curator.errors import RecipeError
from curator.storage import Store
from pipelines.purging import purge_job

routes = routes_under("/v1/training-jobs", "training-jobs")

ARROW = "application/vnd.apache.arrow.stream"
Entry = Literal["text-classifier", "image-classifier", "language-model", "video-classifier"]
BUSY = (JobState.QUEUED, JobState.RUNNING)


class NewJob(Body):
    """`managed`: a runner trains `entry` on the manifest; `recipe` holds its parameters (a preset's name or an
    object). `external`: the caller trains and sends feedback."""

    mode: Literal["managed", "external"] = "managed"
    entry: Entry | None = None
    manifest: str | None = None
    plan: str | None = None
    recipe: str | dict[str, Any] | None = None
    name: str = Field(default="", max_length=255)

    @model_validator(mode="after")
    def _complete(self) -> NewJob:
        if (self.manifest is None) == (self.plan is None):
            raise ValueError("give either a manifest or an epoch plan")
        if self.mode == "managed" and self.entry is None:
            raise ValueError(f"a managed job needs an entry: {', '.join(get_args(Entry))}")
        if self.mode == "external" and (self.entry is not None or self.recipe is not None):
            raise ValueError("an external job is trained elsewhere and has neither entry nor recipe")
        return self


class JobView(VersionedView):
    id: str
    mode: Literal["managed", "external"]
    state: JobState
    plan: str | None
    manifest: str | None
    entry: str | None
    name: str
    spec: dict[str, Any]
    attempt: int
    progress: dict[str, Any] | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime
    poll_after_ms: int | None


class JobList(View):
    items: tuple[JobView, ...]
    next_cursor: str | None
    poll_after_ms: int


class FeedbackRow(Body):
    """`loss` in nats. `training_job`, if given, is the job in the address."""

    model_config = ConfigDict(strict=True)

    sample_id: str = Field(pattern="^[0-9a-fA-F]{32}$")
    epoch: int = Field(ge=0, lt=2**31)
    step: int = Field(ge=0, lt=2**63)
    loss: float = Field(allow_inf_nan=False)
    correct: bool | None = None
    plan: str | None = None
    training_job: str | None = None


class EpochLosses(Body):
    """The mean loss of each difficulty in an epoch, null where no row of it was trained on."""

    epoch: int = Field(ge=0, lt=2**31, strict=True)
    losses: Losses


class FeedbackBody(Body):
    """Losses by sample, by difficulty, or both. An epoch's by difficulty count once, and move the job's plan if that
    is adaptive."""

    rows: tuple[FeedbackRow, ...] = Field(default=(), max_length=100_000)
    by_difficulty: tuple[EpochLosses, ...] = Field(default=(), max_length=1000)

    @model_validator(mode="after")
    def _says_something(self) -> FeedbackBody:
        if not self.rows and not self.by_difficulty:
            raise ValueError("give rows, by_difficulty, or both")
        return self


class FeedbackView(View):
    """What a job has reported: `rows` that count, in `batches`, and epochs by difficulty."""

    job: str
    batches: int
    rows: int
    by_difficulty: tuple[EpochLosses, ...]


@routes.post("", status_code=202, response_model=JobView)
def create_job(request: Request, caller: Writer, body: NewJob) -> Response:
    """Queues a managed job, or opens an external one (running from its birth)."""
    service = service_of(request)

    def make(job_id: str) -> tuple[int, str, JobView]:
        spec = {**body.model_dump(mode="json", exclude={"mode", "plan"}), "recipe": _recipe(body)}
        spec["manifest"] = _manifest(request, caller, body)
        job = service.catalog.jobs.create(caller.tenant, body.mode, plan=body.plan, spec=spec, job_id=job_id)
        return 202, f"/v1/training-jobs/{job.id}", job_view(job, service.store)

    return create_once(request, caller, body, "trn", make)


@routes.get("", response_model=JobList)
def list_jobs(
    request: Request, caller: Reader, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Response:
    """The tenant's jobs, newest first."""
    service = service_of(request)
    page = service.catalog.jobs.page(caller.tenant, cursor=cursor, limit=limit)
    items = tuple(job_view(job, service.store) for job in page.items)
    busy = any(item.poll_after_ms for item in items)
    return reply(request, JobList(items=items, next_cursor=page.next_cursor, poll_after_ms=1000 if busy else 3000))


@routes.get("/{job_id}", response_model=JobView)
def get_job(request: Request, caller: Reader, job_id: str) -> Response:
    """Where a job stands; its ETag is the row's version."""
    service = service_of(request)
    job = service.catalog.jobs.get(caller.tenant, job_id)
    return reply(request, job_view(job, service.store))


@routes.delete("/{job_id}", status_code=204)
def delete_job(request: Request, caller: Writer, job_id: str) -> Response:
    """Removes a job that has ended, with its checkpoints and what it reported."""
    service = service_of(request)
    unchanged(request, lambda: job_view(service.catalog.jobs.get(caller.tenant, job_id), service.store))
    purge_job(service.catalog, service.store, caller.tenant, job_id)
    return Response(status_code=204)


@routes.post("/{job_id}:cancel", status_code=202, response_model=JobView)
def cancel_job(request: Request, caller: Writer, job_id: str) -> Response:
    """Stops a job for good."""
    service = service_of(request)
    jobs = service.catalog.jobs
    version = if_match(request, jobs.get(caller.tenant, job_id).version)
    job = jobs.move(caller.tenant, job_id, JobState.CANCELLED, from_states=BUSY, version=version)
    return accepted(request, job_view(job, service.store), f"/v1/training-jobs/{job.id}")


SHAPE = FeedbackBody.model_json_schema(ref_template="#/components/schemas/{model}")
BYTES = {"type": "string", "format": "binary"}


@routes.post(
    "/{job_id}/feedback",
    response_model=Accepted,
    openapi_extra={
        "requestBody": {
            "content": {"application/json": {"schema": SHAPE}, ARROW: {"schema": BYTES}}, "required": True
        }
    },
)  # fmt: skip
async def post_feedback(request: Request, caller: Feeder, job_id: str) -> Response:
    """Losses by sample, as JSON or an Arrow stream, each (job, epoch, sample) once; or by difficulty, each (job, epoch)
    once."""
    from anyio import to_thread

    body = await request.body()
    return await to_thread.run_sync(_feedback, request, caller, job_id, body)


def _feedback(request: Request, caller: Caller, job_id: str, body: bytes) -> Response:
    service = service_of(request)
    job = service.catalog.jobs.get(caller.tenant, job_id)
    if request.headers.get("content-type", "").startswith(ARROW):
        return reply(request, accept(service, job, table_of_arrow(body)))
    try:
        parsed = FeedbackBody.model_validate_json(body)
    except ValidationError as error:
        items = [
            {**item, "loc": ("body", *item["loc"])} for item in error.errors(include_url=False, include_input=False)
        ]
        raise RequestValidationError(items) from error
    rows = [row.model_dump() for row in parsed.rows]
    told = accept(service, job, table_of_rows(rows)) if rows else NOTHING_BY_SAMPLE
    epochs = sum(accept_epoch(service, job, one.epoch, one.losses) for one in parsed.by_difficulty)
    return reply(request, told.model_copy(update={"epochs": epochs}))


@routes.get("/{job_id}/feedback", response_model=FeedbackView)
def get_feedback(request: Request, caller: Reader, job_id: str) -> Response:
    """How much a job has reported, and its epochs by difficulty."""
    feedback = service_of(request).catalog.feedback
    batches, rows = feedback.totals(caller.tenant, job_id)
    losses = feedback.losses(caller.tenant, job_id).items()
    told = tuple(EpochLosses(epoch=epoch, losses=Losses(**values)) for epoch, values in losses)
    return reply(request, FeedbackView(job=job_id, batches=batches, rows=rows, by_difficulty=told))


def job_view(job: TrainingJob, store: Store) -> JobView:
    return JobView(
        id=job.id,
        mode=job.mode,
        state=job.state,
        plan=job.plan,
        manifest=job.spec.get("manifest"),
        entry=job.spec.get("entry"),
        name=job.spec.get("name", ""),
        spec=job.spec,
        attempt=job.attempt,
        progress=job.progress,
        result=without_root(job.result, store),
        error=without_root(job.error, store),
        version=job.version,
        created_at=job.created_at,
        updated_at=job.updated_at,
        poll_after_ms=1000 if job.state in BUSY else None,
    )


def _manifest(request: Request, caller: Caller, body: NewJob) -> str:
    """The manifest named, or the plan's. Raises NotFoundError."""
    service = service_of(request)
    if body.plan is not None:
        return service.catalog.plans.get(caller.tenant, body.plan).manifest
    return known_manifest(service, caller.tenant, str(body.manifest)).id


def _recipe(body: NewJob) -> dict[str, Any] | None:
    """The training recipe whole, so that a later default changes nothing. Raises RecipeError."""
    if body.mode == "external":
        return None
    from pipelines.training.presets import PRESETS, parse_recipe

    if isinstance(body.recipe, str) and body.recipe not in PRESETS:
        raise RecipeError(f"no training recipe {body.recipe!r}; there are {', '.join(sorted(PRESETS))}")
    given = {"preset": body.recipe} if isinstance(body.recipe, str) else (body.recipe or {"preset": body.entry})
    recipe = parse_recipe(given if "preset" in given or "kind" in given else {"preset": body.entry, **given})
    if recipe.kind != body.entry:
        raise RecipeError(f"entry {body.entry!r} was asked for, the recipe is a {recipe.kind!r}; make them agree")
    return recipe.model_dump(mode="json")
