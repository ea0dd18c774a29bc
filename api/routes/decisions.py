"""/v1/runs/{id}/decisions and /v1/samples: why each row was kept, dropped or relabelled, and overturning it.

Parses and answers; `api/ledger_pages.py` reads, `api/overrides.py` overturns.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query, Request
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from api.auth import Reader, Writer
from api.bodies import Body, View, routes_under
from api.ledger_pages import Decisions, Filter, arrow_stream, decisions_page, ledger_of
from api.once import create_once
from api.overrides import Overridden, SampleHistory, overturn, sample_history
from api.replies import reply
from api.service import service_of
from curator.shards import Override

routes = routes_under("/v1", "decisions")

ARROW = "application/vnd.apache.arrow.stream"


class Overrides(Body):
    """`manifest`: the one to change, by default the run's newest."""

    changes: tuple[Override, ...] = Field(min_length=1, max_length=100_000)
    manifest: str | None = None
    note: str = Field(default="", max_length=1000)


class Settings(Body):
    """`operator.parameter` → value, as in {"near_duplicates.threshold": 0.9}."""

    set: dict[str, Any] = Field(min_length=1)


class WhatIfView(View):
    """Rows under other thresholds; nothing was written. `examples`: the data's own ids, else sample ids."""

    rows: int
    kept_before: int
    kept: int
    newly_kept: int
    newly_dropped: int
    not_judged: int
    reasons_before: dict[str, int]
    reasons: dict[str, int]
    examples: dict[str, list[str | int | float]]


@routes.get("/runs/{run_id}/decisions", response_model=Decisions, responses={200: {"content": {ARROW: {}}}})
def list_decisions(
    request: Request,
    caller: Reader,
    run_id: str,
    action: Literal["keep", "drop", "relabel"] | None = None,
    reason: Annotated[str | None, Query(max_length=100)] = None,
    difficulty: Literal["easy", "medium", "hard"] | None = None,
    min_confidence: Annotated[float | None, Query(ge=0, le=1)] = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    rows: bool = False,
    signals: bool = False,
) -> Response:
    """The ledger: pages of JSON, or all of it as an Arrow stream if that is accepted. `signals`: every signal of the
    run too, as signal.NAME; a run whose recipe reads none has none."""
    service = service_of(request)
    run = service.catalog.runs.get(caller.tenant, run_id)
    chosen = Filter(action=action, reason=reason, difficulty=difficulty, min_confidence=min_confidence)
    if ARROW in request.headers.get("accept", ""):
        pieces = arrow_stream(service, run, chosen, with_signals=signals)
        headers = {"Content-Disposition": f'attachment; filename="{run.id}.arrows"'}
        return StreamingResponse(pieces, media_type=ARROW, headers=headers)
    page = decisions_page(service, run, chosen, cursor=cursor, limit=limit, with_rows=rows, with_signals=signals)
    return reply(request, page)


@routes.post("/runs/{run_id}/decisions:override", status_code=201, response_model=Overridden)
def override_decisions(request: Request, caller: Writer, run_id: str, body: Overrides) -> Response:
    """A new manifest with some verdicts overturned; shards are not rewritten."""
    service = service_of(request)
    run = service.catalog.runs.get(caller.tenant, run_id)

    def make(_: str) -> tuple[int, str, Overridden]:
        made = overturn(service, caller, run, body.changes, base=body.manifest, note=body.note)
        return 201, f"/v1/manifests/{made.manifest}", made

    return create_once(request, caller, body, "man", make)


@routes.post("/runs/{run_id}:what-if", response_model=WhatIfView)
def what_if_run(request: Request, caller: Reader, run_id: str, body: Settings) -> Response:
    """Counts and examples under other thresholds, from the run's side files."""
    from pipelines.what_if import what_if  # here, as it brings the numeric kernels

    service = service_of(request)
    run = service.catalog.runs.get(caller.tenant, run_id)
    ledger_of(service.store, run)
    found = what_if(service.settings.root, run.id, body.set)
    return reply(request, WhatIfView.model_validate(found.model_dump()))


@routes.get("/samples/{sample_id}/history", response_model=SampleHistory)
def get_sample_history(
    request: Request,
    caller: Reader,
    sample_id: str,
    run: str | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """What every run (or one) said of a sample, and what people changed; newest run first, `limit` runs a page."""
    found = sample_history(service_of(request), caller.tenant, sample_id, run_id=run, cursor=cursor, limit=limit)
    return reply(request, found)
