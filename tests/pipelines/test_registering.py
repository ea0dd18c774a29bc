"""A run that learned a policy leaves it in the register, whole and once; rules leave none."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from curator.catalog import Catalog, ClaimedRun
from curator.recipe import parse
from curator.run import RunRequest
from curator.settings import Settings
from curator.storage import Store
from pipelines.here import run_here
from pipelines.registering import WEIGHTS, policy_name, register

LEARNED = {
    "task": "classification",
    "columns": {"id": "id", "text": "text", "label": "label"},
    "policy": {"kind": "learned", "rounds": 0, "review_budget": 20},
}


def curated(root: Path, labelled: dict[str, Path], recipe: dict[str, Any]) -> tuple[Catalog, ClaimedRun, Any]:
    from pipelines.execute import execute
    from pipelines.registering import shelving

    settings = Settings(root=str(root))
    catalog = Catalog.open(settings.database_url)
    request = RunRequest(
        inputs=(str(labelled["a"]), str(labelled["b"])),
        recipe=parse(recipe).model_dump(mode="json"),
        trusted=str(labelled["trusted"]),
    )
    claims: list[ClaimedRun] = []
    work = shelving(catalog, partial(execute))
    summary = run_here(catalog, settings, work, request=request, on_claimed=claims.append)
    return catalog, claims[0], summary


def test_a_learned_policy_is_registered_once(tmp_path: Path, labelled: dict[str, Path]) -> None:
    catalog, claimed, summary = curated(tmp_path / "root", labelled, LEARNED)
    store = Store.open(tmp_path / "root")
    with catalog:
        [found] = catalog.policies.names("local").items
        assert (found.name, found.number, found.policy) == (policy_name(claimed), 1, summary.policy)
        assert (found.task, found.run) == ("classification", claimed.id)
        assert found.name.startswith("classification-") and len(found.name) == len("classification-") + 12
        weights = store.read_bytes(f"{found.path}/{WEIGHTS}")
        assert hashlib.sha256(weights).hexdigest() == found.sha256
        assert found.scorecard["promise"]["basis"] == "audited" and "review" not in found.scorecard
        assert register(catalog, store, claimed, summary) == found
        assert [row.number for row in catalog.policies.versions("local", found.name).items] == [1]
        assert catalog.manifests.get("local", summary.manifest).run == claimed.id


def test_rules_leave_a_manifest_and_no_policy(tmp_path: Path, labelled: dict[str, Path]) -> None:
    catalog, claimed, summary = curated(tmp_path / "root", labelled, {**LEARNED, "policy": {"kind": "rules"}})
    with catalog:
        assert catalog.policies.names("local").items == ()
        assert catalog.manifests.get("local", summary.manifest).run == claimed.id


@pytest.mark.parametrize("other", [{"seed": 1}, {"task": "text", "columns": {"text": "text"}}])
def test_another_recipe_is_another_policy(other: dict[str, Any]) -> None:
    def name(recipe: dict[str, Any]) -> str:
        whole = parse(recipe)
        request = RunRequest(inputs=("x",), recipe=whole.model_dump(mode="json"))
        fields = {"id": "run_1", "tenant": "local", "attempt": 1, "owner": "me", "fence": 1}
        return policy_name(ClaimedRun(**fields, request=request, recipe_digest=whole.digest))

    assert name(LEARNED) == name(dict(LEARNED)) != name({**LEARNED, **other})
