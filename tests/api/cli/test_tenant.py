"""`winnow tenant`: a tenant with a key that opens its own things; again makes a key, not a tenant."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from api.cli.app import app
from curator.catalog import Catalog, Scope


def made(root: Path, name: str) -> tuple[str, str]:
    done = CliRunner().invoke(app, ["tenant", name, "--root", str(root)])
    assert done.exit_code == 0, done.output
    [found] = re.findall(r"\((tnt_\w+)\).*: (wnw_\S+)", done.output)
    return found


def test_a_tenant_and_its_administrator(tmp_path: Path) -> None:
    (first, secret), (again, other) = made(tmp_path, "team"), made(tmp_path, "team")
    assert first == again and secret != other
    with Catalog.open(f"sqlite:///{tmp_path / 'winnow.db'}") as catalog:
        for shown in (secret, other):
            key = catalog.keys.authenticate(shown)
            assert key is not None and key.tenant == first and key.allows(Scope.PROMOTE)
