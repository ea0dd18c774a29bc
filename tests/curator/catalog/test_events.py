"""The outbox replays from any number and never renumbers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

import curator.catalog
from curator.catalog import Catalog, ClaimedRun
from curator.catalog.events import KINDS, PROGRESS
from curator.catalog.schema import events
from curator.errors import ConflictError, RequestError
from curator.run import Progress, RunRequest, RunState


@pytest.fixture
def claimed(catalog: Catalog, request_: RunRequest) -> ClaimedRun:
    return catalog.runs.create_claimed("local", request_, "me", 60.0)


def test_every_change_of_state_is_told_in_order(catalog: Catalog, claimed: ClaimedRun) -> None:
    catalog.runs.move(claimed, {RunState.VALIDATING}, RunState.RUNNING)
    told = catalog.events.after("local", 0, subject=claimed.id)
    assert [event.data["to_state"] for event in told] == ["queued", "validating", "running"]
    assert [event.data["version"] for event in told] == [1, 2, 3]
    assert catalog.events.after("local", told[1].sequence) == told[2:]
    assert catalog.events.latest("local") == told[-1].sequence


def test_a_listener_without_a_past_starts_at_the_end(catalog: Catalog, claimed: ClaimedRun) -> None:
    start = catalog.events.latest("local", subject=claimed.id)
    assert catalog.events.latest("local", subject="run_unknown") == 0
    assert catalog.events.after("local", start) == []
    catalog.runs.request_stop("local", claimed.id, "cancel")
    assert [event.data["to_state"] for event in catalog.events.after("local", start)] == ["cancelling"]


def test_progress_replaces_progress_and_keeps_the_order(catalog: Catalog, claimed: ClaimedRun) -> None:
    for rows in (1, 2, 3):
        catalog.runs.heartbeat(claimed, 60.0, Progress(rows_done=rows))
    told = catalog.events.after("local", 0, subject=claimed.id)
    assert [event.kind for event in told] == ["run.state", "run.state", "run.progress"]
    assert told[-1].data["progress"]["rows_done"] == 3
    assert told[-1].sequence == 5  # the numbers 3 and 4 were used up


def test_a_refused_order_tells_nothing(catalog: Catalog, claimed: ClaimedRun) -> None:
    before = catalog.events.latest("local")
    with pytest.raises(ConflictError):
        catalog.runs.resume("local", claimed.id)
    assert catalog.events.latest("local") == before


def test_pruned_numbers_are_not_used_again(catalog: Catalog, claimed: ClaimedRun) -> None:
    last = catalog.events.latest("local")
    assert catalog.events.prune(3600.0) == 0
    with catalog.database.write() as connection:
        connection.execute(sa.update(events).values(at=0.0))
    assert catalog.events.prune(3600.0) == 2
    catalog.runs.request_stop("local", claimed.id, "cancel")
    assert catalog.events.latest("local") == last + 1


def test_a_limit_out_of_range_is_refused(catalog: Catalog) -> None:
    with pytest.raises(RequestError):
        catalog.events.after("local", 0, limit=1001)


def test_what_moved_since_is_told_by_subject(catalog: Catalog, request_: RunRequest) -> None:
    assert catalog.events.newest() == 0 and catalog.events.moved(0) == {}
    first, second = (catalog.runs.create("local", request_) for _ in range(2))
    before = catalog.events.newest()
    assert catalog.events.moved(0) == {first.id: before - 1, second.id: before}
    catalog.runs.request_stop("local", first.id, "cancel")
    assert catalog.events.moved(before) == {first.id: before + 1}


def emitted() -> Iterator[str]:
    """The kinds that the catalog's code gives to `emit`, by itself or through the leases of a table."""
    for file in Path(curator.catalog.__path__[0]).glob("*.py"):
        for call in (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)):
            given = [keyword.value for keyword in call.keywords if keyword.arg == "event"]
            given += call.args[2:3] if isinstance(call.func, ast.Name) and call.func.id == "emit" else []
            yield from (str(kind.value) for kind in given if isinstance(kind, ast.Constant) and kind.value)
            yield from (PROGRESS for kind in given if isinstance(kind, ast.Name) and kind.id == "PROGRESS")


def test_every_kind_that_is_emitted_is_listed() -> None:
    assert set(emitted()) == set(KINDS)


def test_no_event_names_the_machine_of_a_runner(catalog: Catalog, request_: RunRequest) -> None:
    owner = "gpu-7.internal/4711"
    run = catalog.runs.create("local", request_)
    claimed = catalog.runs.claim(owner, 0.0)
    assert claimed is not None and claimed.id == run.id
    for _ in range(2):
        catalog.runs.reap(2)
        catalog.runs.claim(owner, 0.0)
    assert catalog.runs.get("local", run.id).state == RunState.FAILED
    told = catalog.events.after("local", 0)
    assert "claimed by a runner" in [event.data["reason"] for event in told]
    assert "gpu-7" not in str(told) and "4711" not in str(told)
    assert "gpu-7" not in str(catalog.runs.get("local", run.id))
    assert {step.owner for step in catalog.runs.history("local", run.id)} == {None, owner}, "the operator may look"
