"""Learned policies are versions of a name; an alias moves through the gate, and every move leaves a line."""

from __future__ import annotations

from typing import Any

import pytest

from curator.catalog import Catalog, PolicyVersion
from curator.errors import ConflictError, NotFoundError


def card(ap: float = 0.8, basis: str = "audited") -> dict[str, Any]:
    return {"promise": {"basis": basis, "false_drop": 0.01, "max_false_drop": 0.05}, "calibration_ap": ap}


def learned(
    catalog: Catalog, policy: str, scorecard: dict[str, Any] | None = None, name: str = "text-1"
) -> PolicyVersion:
    about = {"task": "text", "run": f"run_{policy}", "recipe_digest": "d", "path": "runs/r/judge", "sha256": "ab"}
    return catalog.policies.record("local", name, policy, **about, scorecard=scorecard or card())


def test_versions_count_up_and_an_equal_policy_is_no_new_one(catalog: Catalog) -> None:
    first, second = learned(catalog, "judge_a"), learned(catalog, "judge_b")
    assert (first.number, second.number) == (1, 2)
    again = catalog.policies.record(
        "local", "text-1", "judge_a", task="text", run="run_9", recipe_digest="d", path="p", sha256="x", scorecard={}
    )
    assert again == first
    learned(catalog, "judge_a", name="other")
    assert catalog.policies.get("local", "text-1", 2) == second
    assert [row.number for row in catalog.policies.versions("local", "text-1").items] == [2, 1]
    page = catalog.policies.versions("local", "text-1", limit=1)
    assert catalog.policies.versions("local", "text-1", limit=1, cursor=page.next_cursor).items == (first,)
    assert [(row.name, row.number) for row in catalog.policies.names("local").items] == [("other", 1), ("text-1", 2)]
    named = catalog.policies.names("local", limit=1)
    assert [row.name for row in catalog.policies.names("local", cursor=named.next_cursor).items] == ["text-1"]


def test_the_gate_keeps_the_champions_place(catalog: Catalog) -> None:
    learned(catalog, "judge_a", card(0.8))
    learned(catalog, "judge_b", card(0.7))
    learned(catalog, "judge_c", card(0.9, basis="simulated"))
    assert catalog.policies.alias("local", "text-1", "champion").number is None
    for number in (1, 2, 3):
        assert catalog.policies.promote("local", "text-1", "candidate", number, by="me").number == number
    champion = catalog.policies.promote("local", "text-1", "champion", 1, by="me", version=0)
    assert (champion.number, champion.version) == (1, 1)
    for number, word in ((2, r"0\.700.*0\.800"), (3, "simulated")):
        with pytest.raises(ConflictError, match=word):
            catalog.policies.promote("local", "text-1", "champion", number, by="me")
    assert catalog.policies.alias("local", "text-1", "champion") == champion
    moves = catalog.policies.moves("local", "text-1").items
    assert [(move.alias, move.to_number) for move in moves] == [
        ("champion", 1), ("candidate", 3), ("candidate", 2), ("candidate", 1)
    ]  # fmt: skip
    assert [check["check"] for check in moves[0].gate] == ["audited", "false_drop"] and moves[0].by == "me"


def test_rolling_back_goes_back_move_by_move(catalog: Catalog) -> None:
    for policy in ("judge_a", "judge_b", "judge_c"):
        learned(catalog, policy)
    for number in (1, 2, 3):
        catalog.policies.promote("local", "text-1", "champion", number, by="me")
    back = [catalog.policies.roll_back("local", "text-1", "champion", by="you").number for _ in range(2)]
    assert back == [2, 1]
    assert catalog.policies.promote("local", "text-1", "champion", 3, by="me").number == 3
    back = [catalog.policies.roll_back("local", "text-1", "champion", by="you").number for _ in range(2)]
    assert back == [1, None]
    with pytest.raises(ConflictError, match="nothing to go back to"):
        catalog.policies.roll_back("local", "text-1", "champion", by="you")
    alias = catalog.policies.alias("local", "text-1", "champion")
    assert (alias.number, alias.version) == (None, 8)
    assert len(catalog.policies.moves("local", "text-1").items) == 8
    with pytest.raises(ConflictError):
        catalog.policies.roll_back("local", "text-1", "candidate", by="you")


def test_a_move_for_another_version_changes_nothing(catalog: Catalog) -> None:
    learned(catalog, "judge_a")
    catalog.policies.promote("local", "text-1", "champion", 1, by="me")
    for act in (catalog.policies.promote, catalog.policies.roll_back):
        number = (1,) if act == catalog.policies.promote else ()
        with pytest.raises(ConflictError, match="version 1"):
            act("local", "text-1", "champion", *number, by="me", version=0)
    assert len(catalog.policies.moves("local", "text-1").items) == 1


def test_another_tenants_policy_does_not_exist(catalog: Catalog) -> None:
    other = catalog.keys.tenant("other").id
    learned(catalog, "judge_a")
    for act in (
        lambda: catalog.policies.get(other, "text-1", 1),
        lambda: catalog.policies.versions(other, "text-1"),
        lambda: catalog.policies.alias(other, "text-1", "champion"),
        lambda: catalog.policies.moves(other, "text-1"),
        lambda: catalog.policies.promote(other, "text-1", "champion", 1, by="me"),
        lambda: catalog.policies.roll_back(other, "text-1", "champion", by="me"),
        lambda: catalog.policies.promote("local", "text-1", "champion", 2, by="me"),
    ):
        with pytest.raises(NotFoundError):
            act()
    assert catalog.policies.names(other).items == ()
