"""What anybody needs stays, and says who; what nobody needs is hidden at once and forgotten whole."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from curator.catalog import Catalog, Scope, ShardPlace
from curator.catalog.columns import metadata
from curator.catalog.schema import runs
from curator.errors import ConflictError, NotFoundError
from curator.run import RunRequest, RunState, RunSummary

REQUEST = RunRequest(inputs=("rows.parquet",), recipe={"task": "text"})
Made = Callable[..., str]


@pytest.fixture
def ended(catalog: Catalog, summary: RunSummary) -> Made:
    """`ended(manifest, shards=…)`: a run of the tenant `local` that succeeded with it."""

    def make(manifest: str, *digests: str) -> str:
        claimed = catalog.runs.create_claimed("local", REQUEST, "me", 60.0)
        places = [ShardPlace(digest=digest, path=f"shards/{digest}", bytes=5) for digest in digests]
        catalog.manifests.record("local", manifest, path=manifest, shards=places, run=claimed.id)
        catalog.runs.move(claimed, {RunState.VALIDATING}, RunState.RUNNING)
        catalog.runs.move(claimed, {RunState.RUNNING}, RunState.FINALIZING)
        done = summary.model_copy(update={"run": claimed.id, "manifest": manifest})
        catalog.runs.move(claimed, {RunState.FINALIZING}, RunState.SUCCEEDED, summary=done)
        return claimed.id

    return make


def purge(catalog: Catalog, listed: dict[str, set[str]]) -> list[str]:
    """Everything that is due; the manifests whose files went."""
    removed: list[str] = []
    for deleted in catalog.purging.due(0.0):
        catalog.purging.forget_run(deleted, lambda name: listed[name], removed.append)
    return removed


def hold(catalog: Catalog, kind: str, manifest: str, run: str) -> str:
    """Has something need the manifest; what a refusal names."""
    if kind == "alias":
        catalog.aliases.set("local", "prod", manifest, by="me")
        return "alias 'prod'"
    if kind == "child":
        catalog.manifests.record("local", "man_child", path="c", shards=[], run=None, parent=manifest)
        return "man_child"
    if kind == "plan":
        return catalog.plans.create("local", manifest, {}).id
    if kind == "job":
        return catalog.jobs.create("local", "external", plan=None, spec={"manifest": manifest}).id
    if kind == "export":
        return catalog.exports.create("local", manifest, "jsonl").id
    if kind == "later run":
        process = [{"kind": "exact_duplicates", "against": run}]
        return catalog.runs.create("local", REQUEST.model_copy(update={"recipe": {"process": process}})).id
    if kind == "rewrite":
        return catalog.rewrites.create("local", "compact", manifest).id
    about = {"task": "text", "run": run, "recipe_digest": "d", "path": "p", "sha256": "0" * 64}
    scorecard = {"promise": {"basis": "audited", "false_drop": 0.0, "max_false_drop": 0.05}}
    catalog.policies.record("local", "text-1", "judge_1", **about, scorecard=scorecard)
    catalog.policies.promote("local", "text-1", "candidate", 1, by="me")
    return "policy 'text-1'"


@pytest.mark.parametrize("kind", ["alias", "child", "plan", "job", "export", "rewrite", "later run", "policy"])
def test_what_is_needed_stays_and_says_by_whom(catalog: Catalog, ended: Made, kind: str) -> None:
    run = ended("man_1")
    ended("man_2")  # `latest` goes on
    assert catalog.purging.holders("local", run) == []
    named = hold(catalog, kind, "man_1", run)
    with pytest.raises(ConflictError, match=named):
        catalog.purging.delete_run("local", run)
    assert catalog.runs.get("local", run).id == run and catalog.manifests.get("local", "man_1").run == run


def test_latest_falls_back_to_where_it_stood_before(catalog: Catalog, ended: Made) -> None:
    first, second, third = (ended(f"man_{number}") for number in (1, 2, 3))
    with pytest.raises(ConflictError, match="alias 'latest'"):
        catalog.purging.delete_run("local", third, keep_latest=True)
    assert catalog.purging.holders("local", third) == []
    catalog.purging.delete_run("local", second)
    assert catalog.aliases.get("local", "latest").manifest == "man_3"
    catalog.purging.delete_run("local", third)
    back = catalog.aliases.get("local", "latest")
    assert (back.manifest, back.version) == ("man_1", 4)
    line = catalog.aliases.moves("local", "latest").items[0]
    assert (line.from_manifest, line.to_manifest, line.by) == ("man_3", "man_1", third)
    catalog.purging.delete_run("local", first)
    assert catalog.aliases.page("local").items == ()
    ended("man_4")
    assert catalog.aliases.get("local", "latest").manifest == "man_4"


def test_a_deleted_run_is_hidden_everywhere_and_then_forgotten(catalog: Catalog, ended: Made) -> None:
    run = ended("man_1", "a", "both")
    other = ended("man_2", "both")
    version = catalog.runs.get("local", run).version
    with pytest.raises(ConflictError, match="version"):
        catalog.purging.delete_run("local", run, version=version - 1)
    assert catalog.purging.delete_run("local", run, version=version).manifests == ("man_1",)
    for look in (
        lambda: catalog.runs.get("local", run),
        lambda: catalog.runs.history("local", run),
        lambda: catalog.manifests.get("local", "man_1"),
        lambda: catalog.aliases.set("local", "prod", "man_1", by="me"),
        lambda: catalog.purging.delete_run("local", run),
        lambda: catalog.runs.request_stop("local", run, "cancel"),
    ):
        with pytest.raises(NotFoundError):
            look()
    assert [seen.id for seen in catalog.runs.page("local").items] == [other]
    assert catalog.runs.versions([run]) == {} and [row.id for row in catalog.manifests.page("local").items] == ["man_2"]
    assert catalog.events.after("local", 0, subject=run)[-1].kind == "run.deleted"
    assert catalog.purging.due(3600.0) == [] and catalog.purging.num_deleted("local") == 1
    assert catalog.manifests.shard("local", "a").bytes == 5
    assert purge(catalog, {"man_1": {"a", "both"}, "man_2": {"both"}}) == ["man_1"]
    with pytest.raises(NotFoundError):
        catalog.manifests.shard("local", "a")
    assert catalog.manifests.shard("local", "both").bytes == 5
    with catalog.database.read() as connection:
        assert connection.execute(sa.select(runs.c.id)).scalars().all() == [other]
    assert purge(catalog, {}) == []


def test_an_alias_never_stands_at_what_was_purged(catalog: Catalog, ended: Made) -> None:
    def learn(run: str, policy: str) -> int:
        about = {"task": "text", "run": run, "recipe_digest": "d", "path": "p", "sha256": "0" * 64}
        return catalog.policies.record("local", "text-1", policy, **about, scorecard={}).number

    first, second = ended("man_1"), ended("man_2")
    last = ended("man_3")
    assert (learn(first, "judge_1"), learn(second, "judge_2")) == (1, 2)
    for number in (1, 2, 1):
        catalog.policies.promote("local", "text-1", "candidate", number, by="me")
    catalog.purging.delete_run("local", second)
    with pytest.raises(NotFoundError, match="deleted"):
        catalog.policies.promote("local", "text-1", "candidate", 2, by="me")  # the purge would take it from under it
    for _ in range(2):
        with pytest.raises(ConflictError, match="version 2 of 'text-1' before, which was deleted"):
            catalog.policies.roll_back("local", "text-1", "candidate", by="me")
        purge(catalog, {name: set() for name in ("man_1", "man_2", "man_3")})
    assert catalog.policies.alias("local", "text-1", "candidate").number == 1
    assert learn(last, "judge_3") == 3


def test_nothing_is_made_of_what_was_deleted_meanwhile(catalog: Catalog, ended: Made) -> None:
    """Each is asked for by somebody who looked at it a moment before."""
    run = ended("man_1")
    ended("man_2")
    catalog.purging.delete_run("local", run)
    for purged in (False, True):
        for make in (
            lambda: catalog.manifests.record("local", "man_child", path="c", shards=[], run=run, parent="man_1"),
            lambda: catalog.plans.create("local", "man_1", {}),
            lambda: catalog.exports.create("local", "man_1", "jsonl"),
            lambda: catalog.rewrites.create("local", "compact", "man_1"),
            lambda: catalog.runs.create("local", REQUEST, against=run),
        ):
            with pytest.raises(NotFoundError):
                make()
        if not purged:
            with pytest.raises(NotFoundError, match="deleted meanwhile"):  # of a parent that another run made too
                catalog.manifests.record("local", "man_child", path="c", shards=[], run=run, parent="man_2")
            purge(catalog, {"man_1": set(), "man_2": set()})
    assert [row.id for row in catalog.manifests.page("local").items] == ["man_2"]
    assert not catalog.plans.page("local").items


def test_a_run_that_may_go_on_is_not_deleted(catalog: Catalog) -> None:
    run = catalog.runs.create("local", REQUEST)
    with pytest.raises(ConflictError, match="queued; cancel it first"):
        catalog.purging.delete_run("local", run.id)
    catalog.runs.request_stop("local", run.id, "cancel")
    catalog.purging.delete_run("local", run.id)
    assert purge(catalog, {}) == []


def test_a_manifest_that_two_runs_made_goes_with_the_last(catalog: Catalog, ended: Made) -> None:
    first, second = ended("man_1", "a"), ended("man_1", "a")
    ended("man_2")
    catalog.purging.delete_run("local", first)
    assert catalog.manifests.get("local", "man_1").run == second
    assert purge(catalog, {"man_1": {"a"}, "man_2": set()}) == []
    catalog.purging.delete_run("local", second)
    assert purge(catalog, {"man_1": {"a"}, "man_2": set()}) == ["man_1"]


def test_a_deleted_manifest_that_is_made_again_comes_back(catalog: Catalog, ended: Made) -> None:
    first = ended("man_1", "a")
    ended("man_2")
    catalog.purging.delete_run("local", first)
    second = ended("man_1", "a")
    assert catalog.manifests.get("local", "man_1").run == second
    assert purge(catalog, {"man_1": {"a"}, "man_2": set()}) == []
    assert catalog.manifests.shard("local", "a").bytes == 5


def test_another_tenants_equal_manifest_keeps_the_file(catalog: Catalog, ended: Made) -> None:
    run, other = ended("man_1", "a"), catalog.keys.tenant("other").id
    ended("man_2")
    catalog.manifests.record(other, "man_1", path="man_1", shards=[ShardPlace(digest="a", path="a", bytes=5)])
    catalog.purging.delete_run("local", run)
    assert purge(catalog, {"man_2": set()}) == []
    assert catalog.manifests.shard(other, "a").bytes == 5


def test_entering_a_manifest_waits_for_a_purge_to_end(postgresql: Catalog, ended_on: Any) -> None:
    """Or its file could be taken away after it was written and before it is entered."""
    run = ended_on(postgresql, "man_1")
    ended_on(postgresql, "man_2")
    [deleted] = [postgresql.purging.delete_run("local", run)]
    order: list[str] = []

    def enter() -> None:
        postgresql.manifests.record("local", "man_3", path="p", shards=[])
        order.append("entered")

    other = threading.Thread(target=enter)

    def remove(name: str) -> None:
        other.start()
        other.join(0.3)
        order.append(f"removed {name}")

    postgresql.purging.forget_run(deleted, lambda name: set(), remove)
    other.join()
    assert order == ["removed man_1", "entered"]


@pytest.fixture
def ended_on(summary: RunSummary) -> Any:
    def make(catalog: Catalog, manifest: str) -> str:
        claimed = catalog.runs.create_claimed("local", REQUEST, "me", 60.0)
        catalog.manifests.record("local", manifest, path=manifest, shards=[], run=claimed.id)
        for before, after in ((RunState.VALIDATING, RunState.RUNNING), (RunState.RUNNING, RunState.FINALIZING)):
            catalog.runs.move(claimed, {before}, after)
        done = summary.model_copy(update={"run": claimed.id, "manifest": manifest})
        catalog.runs.move(claimed, {RunState.FINALIZING}, RunState.SUCCEEDED, summary=done)
        return claimed.id

    return make


def test_holders_are_let_go(catalog: Catalog, ended: Made) -> None:
    run = ended("man_1")
    ended("man_2")
    hold(catalog, "alias", "man_1", run)
    plan, job = hold(catalog, "plan", "man_1", run), catalog.jobs.create("local", "external", plan=None, spec={})
    with pytest.raises(ConflictError, match="by hand"):
        catalog.purging.forget_alias("local", "latest")
    with pytest.raises(ConflictError, match="version 1"):
        catalog.purging.forget_alias("local", "prod", version=7)
    catalog.purging.forget_alias("local", "prod", version=1)
    needs = catalog.jobs.create("local", "external", plan=plan, spec={"manifest": "man_1"})
    with pytest.raises(ConflictError, match=needs.id):
        catalog.purging.forget_plan("local", plan)
    for each in (job.id, needs.id):
        with pytest.raises(ConflictError, match="cancel it first"):
            catalog.purging.forget_job("local", each)
        catalog.jobs.move("local", each, "cancelled")  # type: ignore[arg-type]
        catalog.purging.forget_job("local", each)
    catalog.purging.forget_plan("local", plan)
    assert catalog.purging.holders("local", run) == []
    other = catalog.keys.tenant("other").id
    for forget, name in (("alias", "prod"), ("plan", plan), ("job", job.id)):
        for tenant in ("local", other):
            with pytest.raises(NotFoundError):
                getattr(catalog.purging, f"forget_{forget}")(tenant, name)


def test_a_dataset_still_on_its_way_is_worked_on_until_it_is_settled_or_deleted(catalog: Catalog) -> None:
    tenant = catalog.keys.tenant("other").id
    first, second = (catalog.datasets.create(tenant, "a", "text", {}, ["https://a/a.csv"])[0].id for _ in range(2))
    catalog.datasets.create("local", "a", "text", {}, ["a.csv"])
    assert catalog.purging.working(tenant) == sorted([first, second])
    catalog.datasets.reject(tenant, first, 1, code="bad_input", message="gone")
    catalog.datasets.delete(tenant, second)
    assert catalog.purging.working(tenant) == []


def test_a_tenant_goes_whole_and_nobody_else(catalog: Catalog, ended: Made, summary: RunSummary) -> None:
    tenant = catalog.keys.tenant("other").id
    run = catalog.runs.create(tenant, REQUEST)
    assert catalog.purging.working(tenant) == [run.id]
    catalog.runs.request_stop(tenant, run.id, "cancel")
    catalog.keys.create(tenant, "k", [Scope.ADMIN])
    catalog.uploads.create(tenant, "a.csv", 5, "ab", part_bytes=5)
    catalog.datasets.create(tenant, "a", "text", {}, ["a.csv"])
    ended("man_1", "a")
    for name in ("man_1", "man_own"):
        catalog.manifests.record(tenant, name, path=name, shards=[ShardPlace(digest="a", path="a", bytes=5)])
    catalog.plans.create(tenant, "man_own", {})
    catalog.jobs.create(tenant, "external", plan=None, spec={})
    catalog.exports.create(tenant, "man_own", "jsonl")
    catalog.aliases.set(tenant, "prod", "man_own", by="me")
    catalog.audit.record(tenant, actor="a", action="b", subject="c", status=1, request_id="d")
    catalog.webhooks.create(tenant, "https://a.example/", [])
    with catalog.purging.forget_tenant(tenant) as orphaned:
        assert orphaned == ["man_own"]
    with catalog.database.read() as connection:
        for table in metadata.sorted_tables:
            if "tenant" in table.c:
                left = connection.execute(sa.select(sa.func.count()).where(table.c.tenant == tenant)).scalar_one()
                assert left == 0, table.name
    with pytest.raises(NotFoundError):
        catalog.keys.tenant_named("other")
    assert catalog.manifests.get("local", "man_1").id == "man_1" and catalog.keys.tenant_named("local")
