"""Links lead somewhere: to operations there are, by parameters and fields they have, from everything that is made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from api.app import RESOURCES, create_app
from api.limits import Buckets
from curator.catalog import RunFault, Scope
from curator.settings import Settings
from tests.api.conftest import RECIPE


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    app = create_app(Settings(root=str(tmp_path_factory.mktemp("linked"))))
    found: dict[str, Any] = app.openapi()
    app.state.service.close()
    return found


def operations(document: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    return {made["operationId"]: (path, made) for path, on in document["paths"].items() for made in on.values()}


def links(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, (_, made) in operations(document).items():
        for answer in made["responses"].values():
            for link in answer.get("links", {}).values():
                yield name, link


def test_every_link_leads_to_what_takes_it(document: dict[str, Any]) -> None:
    known, shapes = operations(document), document["components"]["schemas"]
    assert len(list(links(document))) > 80
    for source, link in links(document):
        path, target = known[link["operationId"]]
        for parameter in link.get("parameters", {}):
            assert "{" + parameter.removeprefix("path.") + "}" in path, (source, link)
        content = target.get("requestBody", {}).get("content", {}).get("application/json", {})
        shape = shapes.get(content.get("schema", {}).get("$ref", "").rpartition("/")[2], {"properties": {}})
        assert set(link.get("requestBody", {})) <= set(shape["properties"]), (source, link)
        needed = {part.partition("}")[0] for part in path.split("{")[1:]} - {"epoch", "name", "sample_id"}
        if "parameters" in link:
            given = {parameter.removeprefix("path.") for parameter in link["parameters"]}
            assert given & needed, (source, link)


def test_everything_that_is_made_leads_on(document: dict[str, Any]) -> None:
    leading = {source for source, _ in links(document)}
    for name, (_, made) in operations(document).items():
        creates = any(header["name"] == "Idempotency-Key" for header in made.get("parameters", ()))
        assert not creates or name in leading, f"{name}: say in api/links.py what may follow"


def test_from_an_upload_to_a_packed_epoch(document: dict[str, Any]) -> None:
    """The whole way can be walked along links."""
    reached, edges = {"create_upload"}, list(links(document))
    while more := {link["operationId"] for source, link in edges if source in reached} - reached:
        reached |= more
    for name in (
        "create_dataset", "add_dataset_version", "get_dataset_version", "create_run", "get_run", "dry_run_recipe",
        "open_queue", "post_verdict", "apply_queue",
        "get_manifest", "create_plan", "take_lease", "acknowledge", "pack_epoch", "get_rewrite", "create_job",
        "post_feedback", "create_export", "get_operation", "what_if_run", "stream_events",
    ):  # fmt: skip
        assert name in reached, name


TEN = b"0" * 10
GOOD: dict[str, dict[str, Any]] = {
    "create_dataset": {"columns": {"text": "text"}},
    "add_dataset_version": {"upload_ids": ["{upload_id}"]},
    "create_run": {"dataset": "{dataset_id}", "recipe": RECIPE},
    "dry_run_recipe": {"dataset": "{dataset_id}", "recipe": RECIPE, "rows": 5},
    "create_plan": {"num_epochs": 2, "global_batch_size": 8, "curriculum": "adaptive"},
    "create_export": {"format": "jsonl"},
    "create_job": {"mode": "external"},
    "open_queue": {"budget": 3, "seed": 5},
    "create_recipe": {"recipe": {**RECIPE, "seed": 9}},
    "create_key": {"name": "linked", "scopes": ["read"]},
    "create_webhook": {"url": "https://hooks.example.com/linked"},
    "create_upload": {"name": "a.csv", "size": 10, "sha256": hashlib.sha256(TEN).hexdigest()},
    "override_decisions": {"changes": [{"sample_id": "{sample_id}", "action": "drop"}]},
    "post_feedback": {"rows": [{"sample_id": "{sample_id}", "epoch": 0, "step": 1, "loss": 0.5}]},
    "what_if_run": {"set": {"length.min_chars": 5}},
    "post_losses": {"easy": 1.0, "medium": 1.5, "hard": 2.0},
    "simulate_plan": {"bytes_per_s": 1e6, "rows_per_s": 100.0},
    "apply_queue": {},
    "take_lease": {"positions": 8},
}
"""What a body needs beside what a link says."""
UNDONE = {"delete", "cancel", "revoke", "pause", "skip", "release", "give"}
"""Ends what others are to be followed from: such links come last."""
MOMENTS = {409, 412, 428}
"""Right request, wrong moment: what was made is there, and in another state."""


def filled(value: Any, owned: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: filled(inner, owned) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, owned) for inner in value]
    return owned.get(value[1:-1], value) if isinstance(value, str) else value


def pointed(value: Any, answer: Any, path: dict[str, str]) -> Any:
    """A link's expression, evaluated (OpenAPI 3.1, runtime expressions)."""
    if isinstance(value, list):
        return [pointed(item, answer, path) for item in value]
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    if value.startswith("$request.path."):
        return path[value.removeprefix("$request.path.")]
    for step in value.partition("#/")[2].split("/"):
        answer = answer[int(step)] if isinstance(answer, list) else answer[step]
    return answer


def test_every_link_can_be_followed(
    document: dict[str, Any], throwaway: tuple[Any, dict[str, str]], send: Any, parquet: bytes
) -> None:
    """Each operation that has links is asked once, and whoever follows one of them finds what was made: no 404, no
    fault, nothing that does not fit."""
    house, owned = throwaway
    object.__setattr__(house.service, "requests", Buckets(per_s=1e9, burst=1e9))
    known, lost = operations(document), []
    method_of = {made["operationId"]: method for on in document["paths"].values() for method, made in on.items()}

    def ask(name: str, values: dict[str, Any], body: dict[str, Any]) -> Any:
        path = known[name][0].format(**{**owned, **values})
        takes_body = "requestBody" in known[name][1]
        whole = {**filled(GOOD.get(name, {}), owned), **body}
        content = {"content": TEN} if name == "put_part" else {"json": whole} if takes_body else {}
        with house.one.stream(method_of[name], path, timeout=90, **content) as answer:
            if "event-stream" not in answer.headers.get("content-type", ""):
                answer.read()
            return answer

    for source in dict.fromkeys(source for source, _ in links(document)):
        place = dict(owned)
        if source == "complete_upload":
            place["upload_id"] = send(house.one, parquet)
        if source == "take_lease":  # of the plan there is, all is given out
            place["plan_id"] = ask("create_plan", {}, {"manifest": owned["manifest_id"], "seed": 3}).json()["id"]
        body = {"upload_ids": [owned["upload_id"]]} if source == "create_dataset" else {}
        body |= {name: owned["manifest_id"] for name in ("manifest",) if source in ("create_plan", "create_export")}
        body |= {"manifest": owned["manifest_id"]} if source == "create_job" else {}
        body |= {"run": owned["run_id"]} if source == "open_queue" else {}
        made = ask(source, place, body)
        assert made.status_code < 300, (source, made.text)
        found = [link for name, link in links(document) if name == source]
        for link in sorted(found, key=lambda link: link["operationId"].split("_")[0] in UNDONE):
            values = {
                name.removeprefix("path."): pointed(value, made.json(), place)
                for name, value in link.get("parameters", {}).items()
            }
            sent = {name: pointed(value, made.json(), place) for name, value in link.get("requestBody", {}).items()}
            answer = ask(link["operationId"], values, sent)
            if answer.status_code >= 300 and answer.status_code not in MOMENTS:
                lost.append((source, link["operationId"], values, sent, answer.text[:300]))
    assert not lost, "\n".join(map(str, lost))


def test_every_location_answers(house: Any, owned: dict[str, str], dataset: dict[str, Any]) -> None:
    """What was made, queued or ordered is told of at the address the answer names."""
    client, made = house.client([Scope.ADMIN]), dict[str, httpx.Response]()

    def post(address: str, route: str = "", **body: Any) -> str:
        made[route or address] = answer = client.post(address, json=body or None)
        return str(answer.json().get("id"))

    manifest, run_id = {"manifest": owned["manifest_id"]}, f"/v1/runs/{owned['run_id']}"
    changed = [{"sample_id": owned["sample_id"], "action": "drop"}]
    post("/v1/uploads", name="a.csv", size=1, sha256="0" * 64)
    more = post("/v1/datasets", upload_ids=[owned["upload_id"]])
    post(f"/v1/datasets/{more}/versions", "/v1/datasets/{dataset_id}/versions", upload_ids=[owned["upload_id"]])
    post("/v1/recipes", recipe={**RECIPE, "seed": 8})
    post("/v1/keys", name="made", scopes=["read"])
    post("/v1/webhooks", url="https://hooks.example.com/made")
    post("/v1/review/queues", run=owned["run_id"], budget=2, seed=102)
    post(f"/v1/review/queues/{owned['queue_id']}:apply", "/v1/review/queues/{queue_id}:apply", note="applied")
    post(f"{run_id}/decisions:override", "/v1/runs/{run_id}/decisions:override", changes=changed)
    plan = post("/v1/epoch-plans", **manifest, global_batch_size=8)
    epoch, its = f"/v1/epoch-plans/{plan}/epochs/0", "/v1/epoch-plans/{plan_id}/epochs/{epoch}"
    post(f"{epoch}/leases", f"{its}/leases", group="made")
    rewrite = post(f"{epoch}:pack", f"{its}:pack")
    post(f"/v1/rewrites/{rewrite}:cancel", "/v1/rewrites/{rewrite_id}:cancel")
    compaction = post(f"/v1/manifests/{manifest['manifest']}:compact", "/v1/manifests/{manifest_id}:compact")
    client.post(f"/v1/rewrites/{compaction}:cancel")
    export = post("/v1/exports", **manifest, format="jsonl")
    post(f"/v1/exports/{export}:cancel", "/v1/exports/{export_id}:cancel")
    job = post("/v1/training-jobs", **manifest, mode="external")
    post(f"/v1/training-jobs/{job}:cancel", "/v1/training-jobs/{job_id}:cancel")
    run = post("/v1/runs", dataset=dataset["id"], recipe="text")
    runs, fault = house.service.catalog.runs, RunFault(code="disk_full", message="full", resumable=True)
    for order in ("pause", "resume", "retry", "cancel"):
        held = runs.claim_this(house.tenant, run, "a test", 60.0) if order in ("pause", "retry") else None
        if order == "retry":
            runs.fail(held, fault)
        post(f"/v1/runs/{run}:{order}", f"/v1/runs/{{run_id}}:{order}")
        if order == "pause":
            runs.release(held, "paused")
    found = [route for resource in RESOURCES for route in resource.routes.routes if isinstance(route, APIRoute)]
    making = {route.path for route in found if "POST" in route.methods and route.status_code in (201, 202)}
    assert set(made) == making
    for route, answer in made.items():
        assert answer.status_code in (201, 202), (route, answer.text)
        assert client.get(answer.headers["location"]).status_code == 200, (route, answer.headers["location"])
        assert ("retry-after" in answer.headers) == (answer.status_code == 202), route
