"""Aliases of manifests: people move some under a version, `latest` follows runs and what replaces their manifests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from curator.catalog import Catalog
from curator.errors import ConflictError, LeaseLostError, NotFoundError
from curator.run import RunRequest, RunState, RunSummary


def known(catalog: Catalog, *names: str) -> None:
    for name in names:
        catalog.manifests.record("local", name, path=name, shards=[])


def run(catalog: Catalog, summary: RunSummary, manifest: str, dataset: str | None = None) -> str:
    request = RunRequest(inputs=("x",), recipe={"task": "text"}, dataset=dataset)
    claimed = catalog.runs.create_claimed("local", request, "me", 60.0)
    for before, to in ((RunState.VALIDATING, RunState.RUNNING), (RunState.RUNNING, RunState.FINALIZING)):
        catalog.runs.move(claimed, {before}, to)
    done = summary.model_copy(update={"manifest": manifest, "run": claimed.id})
    catalog.runs.move(claimed, {RunState.FINALIZING}, RunState.SUCCEEDED, summary=done)
    return claimed.id


def test_an_alias_moves_only_for_who_knows_where_it_stands(catalog: Catalog) -> None:
    known(catalog, "man_1", "man_2")
    first = catalog.aliases.set("local", "prod", "man_1", by="key_1", note="the first", version=0)
    assert (first.manifest, first.version) == ("man_1", 1)
    with pytest.raises(ConflictError, match="version 1"):
        catalog.aliases.set("local", "prod", "man_2", by="key_1", version=0)
    assert catalog.aliases.get("local", "prod") == first
    assert catalog.aliases.set("local", "prod", "man_2", by="key_2", version=1).version == 2
    with pytest.raises(NotFoundError, match="man_9"):
        catalog.aliases.set("local", "prod", "man_9", by="key_1")
    with pytest.raises(ConflictError):
        catalog.aliases.set("local", "other", "man_1", by="key_1", version=4)
    with pytest.raises(NotFoundError):
        catalog.aliases.get("local", "other")  # a refused first move leaves no name behind
    moves = catalog.aliases.moves("local", "prod").items
    assert [(move.from_manifest, move.to_manifest, move.by, move.note) for move in moves] == [
        ("man_1", "man_2", "key_2", ""),
        (None, "man_1", "key_1", "the first"),
    ]
    told = [event.data["to_manifest"] for event in catalog.events.after("local", 0, subject="prod")]
    assert told == ["man_1", "man_2"]


def test_latest_is_what_the_last_run_made_of_all_and_of_its_dataset(catalog: Catalog, summary: RunSummary) -> None:
    first = run(catalog, summary, "man_1", "ds_1")
    run(catalog, summary, "man_2", "ds_2")
    run(catalog, summary, "man_3")
    names = {alias.name: alias.manifest for alias in catalog.aliases.page("local").items}
    assert names == {"latest": "man_3", "latest@ds_1": "man_1", "latest@ds_2": "man_2"}
    [move] = catalog.aliases.moves("local", "latest@ds_1").items
    assert (move.from_manifest, move.by) == (None, first)
    assert [move.to_manifest for move in catalog.aliases.moves("local", "latest").items] == ["man_3", "man_2", "man_1"]


def test_a_run_that_does_not_succeed_moves_nothing(catalog: Catalog, summary: RunSummary) -> None:
    request = RunRequest(inputs=("x",), recipe={"task": "text"})
    claimed = catalog.runs.create_claimed("local", request, "me", 60.0)
    zombie = claimed.model_copy(update={"fence": claimed.fence - 1})
    for act in (claimed, zombie):
        with pytest.raises((ConflictError, LeaseLostError)):
            catalog.runs.move(act, {RunState.VALIDATING}, RunState.SUCCEEDED, summary=summary)
    assert catalog.aliases.page("local").items == ()


def test_what_moves_by_itself_goes_on_to_the_child_and_nobody_sets_it(catalog: Catalog, summary: RunSummary) -> None:
    known(catalog, "man_1", "man_1b")
    run(catalog, summary, "man_1", "ds_1")
    catalog.aliases.set("local", "prod", "man_1", by="me")
    catalog.aliases.follow("local", "man_1", "man_1b", by="me")
    names = {alias.name: alias.manifest for alias in catalog.aliases.page("local").items}
    assert names == {"latest": "man_1b", "latest@ds_1": "man_1b", "prod": "man_1"}
    catalog.aliases.follow("local", "man_1", "man_9", by="me")
    assert catalog.aliases.get("local", "latest").manifest == "man_1b", "only what points at the parent follows"
    for name in ("latest", "latest@ds_1", "latest@ds_7"):
        with pytest.raises(ConflictError, match="by hand"):
            catalog.aliases.set("local", name, "man_1", by="me")


def test_pages_and_strangers(catalog: Catalog) -> None:
    known(catalog, "man_1", "man_2")
    for name in ("a", "b", "c"):
        catalog.aliases.set("local", name, "man_1", by="me")
    first = catalog.aliases.page("local", limit=2)
    rest = catalog.aliases.page("local", limit=2, cursor=first.next_cursor)
    assert [alias.name for alias in first.items + rest.items] == ["a", "b", "c"]
    catalog.aliases.set("local", "a", "man_2", by="me")
    newest = catalog.aliases.moves("local", "a", limit=1)
    older = catalog.aliases.moves("local", "a", limit=1, cursor=newest.next_cursor)
    assert [move.to_manifest for move in newest.items + older.items] == ["man_2", "man_1"]
    other = catalog.keys.tenant("other").id
    acts: list[Callable[[], object]] = [
        lambda: catalog.aliases.get(other, "a"),
        lambda: catalog.aliases.moves(other, "a"),
        lambda: catalog.aliases.set(other, "a", "man_1", by="them"),
    ]
    for act in acts:
        with pytest.raises(NotFoundError):
            act()
    assert catalog.aliases.page(other).items == ()


def test_of_moves_at_once_one_goes(postgresql: Catalog, summary: RunSummary) -> None:
    from concurrent.futures import ThreadPoolExecutor

    known(postgresql, "man_1", "man_2")

    def move(number: int) -> str:
        try:
            return postgresql.aliases.set("local", "prod", "man_1", by=f"key_{number}", version=0).name
        except ConflictError:
            return ""

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(move, range(4))) == ["", "", "", "prod"]
    run(postgresql, summary, "man_2", "ds_1")
    assert postgresql.aliases.get("local", "latest@ds_1").manifest == "man_2"


def test_a_name_that_moves_by_itself_is_there_after_the_first_run(catalog: Catalog) -> None:
    for name in ("latest", "latest@ds_1"):
        with pytest.raises(NotFoundError, match="no run has succeeded yet"):
            catalog.aliases.get("local", name)
    with pytest.raises(NotFoundError, match="set it first"):
        catalog.aliases.get("local", "prod")
