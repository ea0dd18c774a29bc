"""Plans: equal plans are one row, and an epoch's ratios are fixed by the first writer."""

from __future__ import annotations

import pytest

from curator.catalog import Catalog
from curator.errors import NotFoundError

PLAN = {"curriculum": {"kind": "staged"}, "seed": 0, "num_epochs": 10}


def test_equal_plans_are_one(catalog: Catalog) -> None:
    first = catalog.plans.create("local", "man_1", PLAN)
    assert first.id.startswith("epl_")
    assert catalog.plans.create("local", "man_1", dict(reversed(PLAN.items()))) == first
    other = catalog.plans.create("local", "man_1", {**PLAN, "seed": 1})
    assert other.id != first.id
    assert [row.id for row in catalog.plans.page("local").items] == [other.id, first.id]
    page = catalog.plans.page("local", limit=1)
    assert [row.id for row in catalog.plans.page("local", cursor=page.next_cursor).items] == [first.id]


def test_the_digest_may_be_given(catalog: Catalog) -> None:
    first = catalog.plans.create("local", "man_1", PLAN, digest="d")
    assert catalog.plans.create("local", "man_1", {"other": 1}, digest="d") == first


def test_ratios_are_fixed_once(catalog: Catalog) -> None:
    plan = catalog.plans.create("local", "man_1", PLAN).id
    assert catalog.plans.fix_ratios("local", plan, 3, {"easy": 0.5, "hard": 0.5}) == {"easy": 0.5, "hard": 0.5}
    assert catalog.plans.fix_ratios("local", plan, 3, {"easy": 0.9, "hard": 0.1}) == {"easy": 0.5, "hard": 0.5}
    catalog.plans.fix_ratios("local", plan, 1, {"easy": 1.0})
    assert catalog.plans.ratios("local", plan) == {1: {"easy": 1.0}, 3: {"easy": 0.5, "hard": 0.5}}


def test_another_tenants_plan_does_not_exist(catalog: Catalog) -> None:
    other, plan = catalog.keys.tenant("other").id, catalog.plans.create("local", "man_1", PLAN).id
    for act in (
        lambda: catalog.plans.get(other, plan),
        lambda: catalog.plans.ratios(other, plan),
        lambda: catalog.plans.fix_ratios(other, plan, 0, {}),
    ):
        with pytest.raises(NotFoundError):
            act()
    assert catalog.plans.page(other).items == ()
    assert catalog.plans.create(other, "man_1", PLAN).id != plan
