"""Links of the OpenAPI document: from an answer to the requests that take what it made or names.

What is made under an address leads to every address below that takes its id; the rest is the table. Whoever tests the
service by its document walks along them, from an upload to a packed epoch. Knows operation ids, not what they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["link"]

Values = Mapping[str, str | int]
Following = Mapping[str, tuple[Values, dict[str, Any] | None]]
ID: Final = "$response.body#/id"
MADE: Final = "$response.body#/summary/manifest"
DATASET: Final = "$response.body#/dataset"
VERSION: Final = ("get_dataset_version", "get_schema", "get_statistics", "get_rows")
FIRST_EPOCH: Final[Values] = {"path.epoch": 0}
LATER: Final = ("/pack",)
"""Not there as soon as what they are below is."""
LEASE: Final[Values] = {
    "path.plan_id": "$request.path.plan_id",
    "path.epoch": "$request.path.epoch",
    "path.lease_id": "$response.body#/lease/id",
}
FENCE: Final = {"fence": "$response.body#/lease/fence"}
ITEM: Final[Values] = {"path.item_id": "$response.body#/items/0/id"}
HELD: Final = {"lease": "$response.body#/items/0/lease/token"}
OPERATION: Final[Following] = {"get_operation": ({"path.operation_id": ID}, None)}
REWRITE: Final[Following] = {
    "get_rewrite": ({"path.rewrite_id": ID}, None),
    "cancel_rewrite": ({"path.rewrite_id": ID}, None),
    **OPERATION,
}

TABLE: Final[dict[str, Following]] = {
    "complete_upload": {
        "create_dataset": ({}, {"upload_ids": [ID]}),
        "add_dataset_version": ({}, {"upload_ids": [ID]}),
    },
    "create_dataset": {
        "create_run": ({}, {"dataset": ID, "recipe": "text"}),
        "dry_run_recipe": ({}, {"dataset": ID, "recipe": "text"}),
        **{name: ({"path.dataset_id": ID, "path.number": "$response.body#/version"}, None) for name in VERSION},
    },
    "add_dataset_version": {
        "create_run": ({}, {"dataset": DATASET, "dataset_version": "$response.body#/version", "recipe": "text"}),
        **{name: ({"path.dataset_id": DATASET, "path.number": "$response.body#/version"}, None) for name in VERSION},
    },
    "create_recipe": {
        "validate_recipe": ({}, {"recipe": ID}),
        "create_run": ({}, {"recipe": ID}),
        "dry_run_recipe": ({}, {"recipe": ID}),
    },
    "create_run": {"open_queue": ({}, {"run": ID}), **OPERATION},
    "get_run": {
        "get_manifest": ({"path.manifest_id": MADE}, None),
        "compact_manifest": ({"path.manifest_id": MADE}, None),
        "create_plan": ({}, {"manifest": MADE}),
        "create_export": ({}, {"manifest": MADE}),
        "create_job": ({}, {"manifest": MADE}),
    },
    "create_plan": {"create_job": ({}, {"plan": ID})},
    "take_lease": {
        "get_reading": ({name: LEASE[name] for name in ("path.plan_id", "path.epoch")}, None),
        **{name: (LEASE, FENCE) for name in ("keep_lease", "acknowledge", "give_back")},
    },
    "claim_items": {
        "get_item": (ITEM, None),
        "post_verdict": (ITEM, {"action": "keep", **HELD}),
        "skip_item": (ITEM, HELD),
        "release_item": (ITEM, HELD),
    },
    "override_decisions": {"get_manifest": ({"path.manifest_id": "$response.body#/manifest"}, None)},
    "apply_queue": {"get_manifest": ({"path.manifest_id": "$response.body#/manifest"}, None)},
    "compact_manifest": REWRITE,
    "pack_epoch": REWRITE,
    "create_export": OPERATION,
    "create_job": OPERATION,
}
"""By the operation that answers: what may follow, with its parameters and (part of) its body."""


def link(paths: dict[str, Any]) -> None:
    """Puts the links into a document's paths. Raises KeyError for an operation of the table that there is not."""
    answers = {operation["operationId"]: operation for methods in paths.values() for operation in methods.values()}
    for path, methods in paths.items():
        made = methods.get("post")
        if made is not None and not {":", "{"} & set(path) and {"201", "202"} & set(made["responses"]):
            for name, parameters in _below(path, paths):
                _add(made, name, parameters, None)
    for source, following in TABLE.items():
        for name, (parameters, body) in following.items():
            _add(answers[source], answers[name]["operationId"], parameters, body)


def _below(path: str, paths: dict[str, Any]) -> list[tuple[str, Values]]:
    """(operation, its parameters) of every address below that begins with the new id; of a plan's the first epoch."""
    found: list[tuple[str, Values]] = []
    for other, methods in paths.items():
        if other.startswith(path + "/{") and not other.endswith(LATER):
            name, _, rest = other.removeprefix(path + "/{").partition("}")
            more: Values = FIRST_EPOCH if "{epoch}" in rest else {}
            if rest.count("{") > len(more):
                continue  # it takes an id of something else too
            found += [(target["operationId"], {f"path.{name}": ID, **more}) for target in methods.values()]
    return found


def _add(source: dict[str, Any], name: str, parameters: Values, body: dict[str, Any] | None) -> None:
    made: dict[str, Any] = {"operationId": name} | ({"parameters": dict(parameters)} if parameters else {})
    made |= {} if body is None else {"requestBody": body}
    for status in {"200", "201", "202"} & set(source["responses"]):
        source["responses"][status].setdefault("links", {})[name] = made
