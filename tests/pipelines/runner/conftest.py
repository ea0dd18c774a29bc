"""Settings with short times, a catalog of its own and a run that waits in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from curator.catalog import Catalog, Run
from curator.settings import Settings
from tests.pipelines.runner.work import REQUEST


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=str(tmp_path), lease_s=1.0, heartbeat_s=0.05, poll_s=0.01, grace_s=20.0)


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    with Catalog.open(settings.database_url) as opened:
        yield opened


@pytest.fixture
def queued(catalog: Catalog) -> Run:
    return catalog.runs.create("local", REQUEST)
