"""Plans: equal plans are one row, and an epoch's ratios are fixed by the first writer."""

from __future__ import annotations

import pytest

from curator.catalog import Catalog
from curator.errors import NotFoundError

PLAN = {"curriculum": {"kind": "staged"}, "seed": 0, "num_epochs": 10}


@pytest.fixture(autouse=True)
def manifest(catalog: Catalog) -> None:
    catalog.manifests.record("local", "man_1", path="man_1", shards=[])


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
    plan = catalog.plans.create("local", "man_1", PLAN)
    first = catalog.plans.decide("local", plan.id, 1, {"easy": 0.5, "hard": 0.5}, {"easy": 1.5, "hard": None})
    assert (first.ratios, first.losses) == ({"easy": 0.5, "hard": 0.5}, {"easy": 1.5, "hard": None})
    assert catalog.plans.decide("local", plan.id, 1, {"easy": 0.9}, {"easy": 2.0}) == first
    begun = catalog.plans.decide("local", plan.digest, 0, {"easy": 1.0}, None)
    assert catalog.plans.epochs("local", plan.digest) == [begun, first]


def test_the_digest_names_the_plan_too(catalog: Catalog) -> None:
    plan = catalog.plans.create("local", "man_1", PLAN)
    assert catalog.plans.get("local", plan.digest) == plan


def test_another_tenants_plan_does_not_exist(catalog: Catalog) -> None:
    other, plan = catalog.keys.tenant("other").id, catalog.plans.create("local", "man_1", PLAN).id
    for act in (
        lambda: catalog.plans.get(other, plan),
        lambda: catalog.plans.epochs(other, plan),
        lambda: catalog.plans.decide(other, plan, 0, {}, None),
    ):
        with pytest.raises(NotFoundError):
            act()
    assert catalog.plans.page(other).items == ()
    catalog.manifests.record(other, "man_1", path="man_1", shards=[])
    assert catalog.plans.create(other, "man_1", PLAN).id != plan
