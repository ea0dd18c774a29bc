"""Kept recipes: equal content is one row of a tenant, and nobody else's."""

from __future__ import annotations

import pytest

from curator.catalog import LOCAL_TENANT, Catalog
from curator.errors import NotFoundError


def test_equal_content_is_one_row(catalog: Catalog) -> None:
    first = catalog.recipes.keep(LOCAL_TENANT, "rcp_1", {"seed": 1}, name="mine")
    assert catalog.recipes.keep(LOCAL_TENANT, "rcp_1", {"seed": 1}, name="another") == first
    assert catalog.recipes.get(LOCAL_TENANT, "rcp_1") == first
    assert [row.id for row in catalog.recipes.page(LOCAL_TENANT).items] == ["rcp_1"]


def test_another_tenants_is_not_there(catalog: Catalog) -> None:
    other = catalog.keys.tenant("other").id
    catalog.recipes.keep(LOCAL_TENANT, "rcp_1", {"seed": 1})
    with pytest.raises(NotFoundError, match="rcp_1"):
        catalog.recipes.get(other, "rcp_1")
    assert catalog.recipes.page(other).items == ()
    assert catalog.recipes.keep(other, "rcp_1", {"seed": 1}).number != 1


def test_pages_newest_first(catalog: Catalog) -> None:
    for number in range(5):
        catalog.recipes.keep(LOCAL_TENANT, f"rcp_{number}", {"seed": number})
    first = catalog.recipes.page(LOCAL_TENANT, limit=3)
    rest = catalog.recipes.page(LOCAL_TENANT, limit=3, cursor=first.next_cursor)
    assert [row.id for row in (*first.items, *rest.items)] == [f"rcp_{number}" for number in (4, 3, 2, 1, 0)]
    assert rest.next_cursor is None
