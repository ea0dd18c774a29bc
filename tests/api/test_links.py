"""Links lead somewhere: to operations there are, by parameters and fields they have, from everything that is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from api.app import create_app
from curator.settings import Settings


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
        "create_dataset", "create_run", "get_run", "dry_run_recipe", "open_queue", "post_verdict", "apply_queue",
        "get_manifest", "create_plan", "take_lease", "acknowledge", "pack_epoch", "get_rewrite", "create_job",
        "post_feedback", "create_export", "get_operation", "what_if_run", "stream_events",
    ):  # fmt: skip
        assert name in reached, name
