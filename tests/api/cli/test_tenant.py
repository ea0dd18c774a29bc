"""`winnow tenant`: a tenant with a key that opens its own things; again makes a key, not a tenant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli.app import app
from curator.catalog import Catalog, Quota, Scope
from curator.run import RunRequest


def made(root: Path, name: str) -> tuple[str, str]:
    done = CliRunner().invoke(app, ["tenant", name, "--root", str(root)])
    assert done.exit_code == 0, done.output
    [found] = re.findall(r"\((tnt_\w+)\).*: (wnw_\S+)", done.output)
    return found


def test_a_tenant_and_its_administrator(tmp_path: Path) -> None:
    (first, secret), (again, other) = made(tmp_path, "team"), made(tmp_path, "team")
    assert first == again and secret != other
    with Catalog.open(f"sqlite:///{tmp_path / 'winnow.db'}") as catalog:
        for shown in (secret, other):
            key = catalog.keys.authenticate(shown)
            assert key is not None and key.tenant == first and key.allows(Scope.PROMOTE)


def run(root: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*words, "--root", str(root)])
    return done.exit_code, done.output


def test_a_quota_is_set_and_taken_away(tmp_path: Path) -> None:
    tenant, _ = made(tmp_path, "team")
    code, told = run(tmp_path, "tenant", "team", "--quota", "datasets=5", "--quota", "stored_bytes=1000")
    assert code == 0 and "'datasets': 5" in told and "wnw_" not in told
    with Catalog.open(f"sqlite:///{tmp_path / 'winnow.db'}") as catalog:
        assert catalog.quotas.get(tenant) == Quota(datasets=5, stored_bytes=1000)
        assert run(tmp_path, "tenant", "team", "--quota", "datasets=none")[0] == 0
        assert catalog.quotas.get(tenant) == Quota(stored_bytes=1000)
    for wrong in ("datasets=-1", "nonsense=1", "datasets=many", "datasets"):
        code, told = run(tmp_path, "tenant", "team", "--quota", wrong)
        assert code == 2 and "limits are stored_bytes" in told
    assert run(tmp_path, "tenant", "nobody", "--quota", "datasets=1")[0] == 2


def test_a_tenant_is_removed_after_a_look(tmp_path: Path) -> None:
    tenant, secret = made(tmp_path, "team")
    with Catalog.open(f"sqlite:///{tmp_path / 'winnow.db'}") as catalog:
        catalog.uploads.create(tenant, "a.csv", 5, "ab", part_bytes=5)
    assert run(tmp_path, "tenant", "team", "--dry-run")[0] == 2
    code, told = run(tmp_path, "tenant", "team", "--purge", "--dry-run")
    assert code == 0 and "would go" in told and "1 uploads" in told
    with Catalog.open(f"sqlite:///{tmp_path / 'winnow.db'}") as catalog:
        assert catalog.keys.authenticate(secret) is not None
        code, told = run(tmp_path, "tenant", "team", "--purge")
        assert code == 0 and "is gone" in told
        assert catalog.keys.authenticate(secret) is None
        line, *_ = catalog.audit.page("local").items
        assert (line.actor, line.action, line.subject) == ("operator", "purge tenant", f"team {tenant}")
    assert run(tmp_path, "tenant", "team", "--purge")[0] == 2
    assert run(tmp_path, "tenant", "local", "--purge")[0] == 2


def test_what_is_due_is_told_and_purged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path / "none", "purge")[0] == 2
    monkeypatch.setenv("WINNOW_RETENTION_DELETED_DAYS", "0")
    with Catalog.open(f"sqlite:///{tmp_path / 'winnow.db'}") as catalog:
        run_id = catalog.runs.create("local", RunRequest(inputs=("a",), recipe={"task": "text"})).id
        catalog.runs.request_stop("local", run_id, "cancel")
        assert run(tmp_path, "purge") == (0, "Nothing is due.\n")
        catalog.purging.delete_run("local", run_id)
        for _ in range(2):
            code, told = run(tmp_path, "purge", "--dry-run")
            assert code == 0 and run_id in told
        assert run(tmp_path, "purge")[0] == 0
        assert catalog.purging.due(0.0) == []


def test_keys_and_quotas_leave_lines_for_the_operator_and_the_tenant(tmp_path: Path) -> None:
    tenant, secret = made(tmp_path, "team")
    assert run(tmp_path, "tenant", "team", "--quota", "datasets=5", "--quota", "stored_bytes=none")[0] == 0
    assert run(tmp_path, "tenant", "team", "--quota", "datasets=-1")[0] == 2
    assert run(tmp_path, "tenant", "local")[0] == 0
    with Catalog.open(f"sqlite:///{tmp_path / 'winnow.db'}") as catalog:
        key = catalog.keys.authenticate(secret)
        assert key is not None
        told = [(line.actor, line.action, line.subject) for line in catalog.audit.page(tenant).items]
        assert told == [
            ("operator", "set quota", f"team {tenant} datasets=5 stored_bytes=none"),
            ("operator", "create admin key", f"team {tenant} {key.id}"),
        ]
        operators = catalog.audit.page("local").items
        assert [line.action for line in operators] == ["create admin key", "set quota", "create admin key"]
        assert secret not in str(operators)
