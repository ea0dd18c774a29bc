"""The audit log: lines in order, a tenant's own, forgotten in time."""

from __future__ import annotations

from curator.catalog import LOCAL_TENANT, Catalog


def note(catalog: Catalog, actor: str, tenant: str = LOCAL_TENANT) -> None:
    catalog.audit.record(
        tenant, actor=actor, action="POST /v1/runs", subject="/v1/runs", status=202, request_id="req_1"
    )


def test_newest_first_in_pages(catalog: Catalog) -> None:
    for actor in ("key_a", "key_b", "key_a"):
        note(catalog, actor)
    first = catalog.audit.page(LOCAL_TENANT, limit=2)
    assert [line.actor for line in first.items] == ["key_a", "key_b"]
    rest = catalog.audit.page(LOCAL_TENANT, cursor=first.next_cursor, limit=2)
    assert [line.actor for line in rest.items] == ["key_a"] and rest.next_cursor is None
    assert len(catalog.audit.page(LOCAL_TENANT, actor="key_b").items) == 1


def test_a_tenant_sees_its_own_lines(catalog: Catalog) -> None:
    other = catalog.keys.tenant("other").id
    note(catalog, "key_a", other)
    assert catalog.audit.page(LOCAL_TENANT).items == ()
    assert len(catalog.audit.page(other).items) == 1


def test_old_lines_are_forgotten(catalog: Catalog) -> None:
    note(catalog, "key_a")
    assert catalog.audit.prune(3600) == 0
    assert catalog.audit.prune(-1) == 1
