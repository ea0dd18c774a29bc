"""A run from its request to its manifest: plan, validate, then the road step by step, journalled.

Knows the road and the journal; where steps run is the engine's business. A run resumed after any crash skips what the
journal holds and ends with the same manifest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Final, Protocol

from curator.errors import RequestError
from curator.ledger import Ledger
from curator.run import Journal, Progress, RunRequest, RunSummary
from curator.settings import Settings
from curator.stopping import hear, listening
from curator.tracing import span
from pipelines.clock import Clock
from pipelines.engine import Engine
from pipelines.inline import InlineEngine
from pipelines.job import Job
from pipelines.lineage import require_earlier
from pipelines.phases import ROAD, SET_UNIT, Step, num_parts
from pipelines.phases.validate import Validated, validate
from pipelines.plan import Plan, make_plan
from pipelines.warnings import warnings_of

__all__ = ["Checked", "check", "execute"]


class _Claimed(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def request(self) -> RunRequest: ...


class Checked:
    """A request that has been planned and validated; nothing has been written."""

    def __init__(self, plan: Plan, validated: Validated):
        self.plan, self.validated = plan, validated


def check(request: RunRequest, root: str) -> Checked:
    """Plans and validates. Raises RequestError of the fitting kind; writes nothing. root: where an earlier run that the
    recipe goes on from would lie."""
    plan = make_plan(request)
    require_earlier(root, plan.recipe)
    validated = validate(plan)
    if plan.recipe.needs_vectors and plan.recipe.encoder_name != "builtin":
        from agents.encoders import make_encoder  # torch: only where vectors are needed

        make_encoder(plan.recipe.modality, plan.recipe.encoder_name)  # a name that does not load is a wrong request
    return Checked(plan, validated)


def execute(
    claimed: _Claimed,
    journal: Journal,
    settings: Settings,
    *,
    checked: Checked | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunSummary:
    """Walks the road of a claimed run. Raises RequestError (nothing was written), StoppedError, RunFailedError."""
    job = Job(str(settings.root), claimed.id)
    clock = Clock(journal, on_progress)
    outputs = {"validate": _prepared(job, claimed.request, journal, checked, clock)}
    with _engine(job, claimed.request, settings) as engine:
        for step in ROAD:
            outputs[step.name] = _step(job, step, engine, journal, outputs, clock)
    summary = _summary(job, outputs, clock)
    job.store.write_bytes(job.name("report.json"), json.dumps(_report(summary, outputs), indent=1).encode())
    return summary


def _prepared(job: Job, request: RunRequest, journal: Journal, checked: Checked | None, clock: Clock) -> dict[str, Any]:
    """The validate step's outputs; plan.json and trusted.arrow are written before it is journalled."""
    done = clock.committed("validate", "validate")
    if SET_UNIT in done:
        clock.begin("validate", done[SET_UNIT]["rows"])
        clock.all_done()
        return done[SET_UNIT]
    with clock.phase("validate", 0), span("validate"):
        checked = checked or check(request, job.root)
        _clear(job)
        job.store.write_bytes(job.name("plan.json"), checked.plan.model_dump_json(indent=1).encode())
        if checked.validated.trusted is not None:
            job.write(job.name("trusted.arrow"), checked.validated.trusted)
        clock.commit("validate", SET_UNIT, checked.validated.outputs)
        clock.begin("validate", checked.validated.outputs["rows"])
        clock.all_done()
    return checked.validated.outputs


_WORDS: Final = "submission.json"
"""What was asked for, in the caller's words: of a run's files the only one that is not made from its request."""


def _clear(job: Job) -> None:
    """A run that begins, begins in an empty place: what an attempt before it left is of another plan."""
    for name in job.store.list(job.name()):
        if name != job.name(_WORDS):
            job.store.delete(name)


def _engine(job: Job, request: RunRequest, settings: Settings) -> Engine:
    if request.engine == "inline":
        return InlineEngine(job)
    try:
        from pipelines.cluster.engine import RayEngine
    except ModuleNotFoundError as error:
        raise RequestError(
            "engine 'ray' needs Ray: pip install 'winnow-curation[cluster]', or use engine 'inline'"
        ) from error
    return RayEngine(job, address=settings.ray_address)


def _step(job: Job, step: Step, engine: Engine, journal: Journal, outputs: dict[str, Any], clock: Clock) -> Any:
    """The step's outputs: from the journal where they are there, else from the engine, committed as they come."""
    done = clock.committed(step.name, step.phase)
    needed = {name: outputs[name] for name in step.reads}
    shown = _SHOWN[step.name]
    counting = step.name == _COUNTED.get(shown)
    with (
        span(step.name, {"winnow.phase": step.phase, "winnow.done_before": len(done)}),
        clock.phase(shown, outputs["validate"]["rows"], anew=counting, spent_on=step.phase),
    ):
        if step.over == "set":
            if SET_UNIT not in done:
                with listening(journal.stop_requested):
                    done[SET_UNIT], peak = engine.run_set(step, needed)
                clock.commit(step.name, SET_UNIT, done[SET_UNIT], peak)
            if step.name == _LAST_OF[shown]:
                clock.all_done()
            return done[SET_UNIT]
        parts = num_parts(step, job, outputs)
        rows_by_unit = outputs["validate"]["rows_by_unit"] if counting else [0] * parts
        for unit in done:
            clock.unit_done(rows_by_unit[unit], done[unit])
        left = [unit for unit in range(parts) if unit not in done]
        with listening(journal.stop_requested):
            for unit, result, peak in engine.run_units(step, left, needed) if left else ():
                clock.commit(step.name, unit, result, peak)
                done[unit] = result
                clock.unit_done(rows_by_unit[unit], result, engine)
                hear()
        return done


def _shown(road: Sequence[Step]) -> dict[str, str]:
    """step -> the phase people see while it works: its own, or the next step's when its own was left before. A person
    who reads along sees every phase once, and none come back."""
    order = list(dict.fromkeys(step.phase for step in road))
    reached = list(accumulate((order.index(step.phase) for step in road), max))
    shown: dict[str, str] = {}
    following = road[-1].phase
    for step, furthest in zip(reversed(road), reversed(reached), strict=True):
        following = shown[step.name] = following if order.index(step.phase) < furthest else step.phase
    return shown


_SHOWN: Final = _shown(ROAD)
_COUNTED: Final = {_SHOWN[step.name]: step.name for step in reversed(ROAD) if step.over == "units"}
"""phase -> the step whose rows people see go by: its first that works unit by unit."""
_LAST_OF: Final = {phase: name for name, phase in reversed(_SHOWN.items())}


def _summary(job: Job, outputs: dict[str, Any], clock: Clock) -> RunSummary:
    decided = outputs["decide"].values()
    progress = clock.progress
    return RunSummary(
        run=job.run,
        manifest=outputs["finish"]["manifest"],
        ledger=job.store.place(Ledger.folder_of(job.run)),
        rows_in=outputs["validate"]["rows"],
        kept=sum(item["kept"] for item in decided),
        dropped=sum(item["dropped"] for item in decided),
        relabeled=sum(item["relabeled"] for item in decided),
        reasons=dict(sorted(progress.reasons.items(), key=lambda item: (-item[1], item[0]))),
        difficulty=outputs["finish"]["difficulty"],
        policy=outputs["learn"]["policy"],
        seconds=round(clock.seconds, 3),
        seconds_by_phase=progress.seconds_by_phase,
        peak_rss_bytes=clock.peak,
        warnings=warnings_of(job.recipe, outputs, versions=clock.versions),
    )


def _report(summary: RunSummary, outputs: dict[str, Any]) -> dict[str, Any]:
    return {
        **summary.model_dump(mode="json"),
        "scorecard": outputs["learn"]["scorecard"],
        "encoder": outputs["encoder"],
    }
