"""The OpenAPI document clients are written against: a change of it is a change of `tests/golden/openapi.json`.

To change it on purpose: `python -m tests.architecture.test_openapi`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from api.app import create_app
from curator.settings import Settings

GOLDEN = Path(__file__).parents[1] / "golden" / "openapi.json"
FOREIGN = ("HTTPValidationError", "ValidationError")
"""FastAPI's own shapes, which its versions may word otherwise; the service answers with problem+json."""


def document() -> dict[str, Any]:
    """The document of a service on an empty root, without what is FastAPI's own."""
    with tempfile.TemporaryDirectory() as root:
        app: FastAPI = create_app(Settings(root=root))
        found: dict[str, Any] = app.openapi()
        app.state.service.close()
    for name in FOREIGN:
        found["components"]["schemas"].pop(name, None)
    return found


def test_the_document_is_the_golden_one() -> None:
    golden, now = json.loads(GOLDEN.read_text()), document()
    told = "; if this is meant: python -m tests.architecture.test_openapi"
    assert sorted(now["paths"]) == sorted(golden["paths"]), "other addresses" + told
    for kind, old, new in (
        ("address", golden["paths"], now["paths"]),
        ("shape", golden["components"]["schemas"], now["components"]["schemas"]),
    ):
        changed = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
        assert changed == [], f"another {kind}{told}"


def test_every_answer_and_every_body_has_a_name_of_its_own() -> None:
    """Two shapes of one name would be told apart by the path of their module."""
    assert [name for name in document()["components"]["schemas"] if "__" in name] == []


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(document(), indent=1, sort_keys=True, ensure_ascii=False) + "\n")
