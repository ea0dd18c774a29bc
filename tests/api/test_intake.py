"""What becomes of a version when its reading ends in a way nobody wished."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.allowances import Allowances
from api.fetching import Fetcher
from api.inspection import Bounds
from api.intake import Intake
from api.service import Service
from api.upload_files import UploadFiles
from curator.catalog import Catalog, DatasetVersion
from curator.errors import RetryableError
from curator.settings import Settings
from curator.storage import Store


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    settings, store = Settings(root=str(tmp_path)), Store.open(tmp_path)
    with Catalog.open(settings.database_url) as catalog:
        uploads = UploadFiles(catalog, store, settings, Allowances(catalog, settings))
        fetcher = Fetcher(catalog, uploads, settings)
        made = Intake(catalog, Bounds.of(settings), fetcher=fetcher)
        yield made
        made.close()


def settled(intake: Intake, monkeypatch: pytest.MonkeyPatch, ending: Any) -> DatasetVersion:
    """A version after a reading that found, or raised, this."""

    def inspected(inputs: object, within: object) -> dict[str, Any]:
        if isinstance(ending, Exception):
            raise ending
        return dict(ending)

    monkeypatch.setattr(intake._nursery, "inspected", inspected)
    dataset, version = intake._catalog.datasets.create("local", "a", "text", {}, ["/data/a.parquet"])
    intake.validate("local", version, wait_s=20.0)
    return intake._catalog.datasets.version("local", dataset.id)


@pytest.mark.parametrize("ending", [ValueError("unforeseen"), RecursionError(), {"odd": 1}])
def test_the_unforeseen_is_a_rejection_and_raises_nothing(
    intake: Intake, monkeypatch: pytest.MonkeyPatch, ending: Any
) -> None:
    version = settled(intake, monkeypatch, ending)
    assert version.state == "rejected" and version.error is not None
    assert "log" in version.error["message"] and "unforeseen" not in version.error["message"]


def test_a_passing_fault_leaves_it_to_be_tried_again(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settled(intake, monkeypatch, RetryableError("no process")).state == "validating"


def test_a_catalog_that_fails_unforeseen_is_logged(
    intake: Intake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def reject(*_: object, **__: object) -> None:
        raise RuntimeError("away")

    monkeypatch.setattr(intake._catalog.datasets, "reject", reject)
    assert settled(intake, monkeypatch, ValueError()).state == "validating"
    assert "could not be settled" in caplog.text


def test_a_service_bounds_reading_as_its_settings_say(tmp_path: Path) -> None:
    settings = Settings(root=str(tmp_path), inspection_memory_bytes=2**20, inspection_cpu_s=7, inspection_wall_s=8.0)
    service = Service.open(settings, local_access=True)
    assert service.intake._nursery._bounds == Bounds(memory_bytes=2**20, cpu_s=7, wall_s=8.0)
    service.close()


def test_the_settings_are_told_with_their_defaults() -> None:
    table = (Path(__file__).parents[2] / "api" / "README.md").read_text()
    names = [name for name in Settings.model_fields if name.startswith("inspection_")]
    assert len(names) == 3
    for name in names:
        assert f"| `WINNOW_{name.upper()}` | {Settings.model_fields[name].default:.0f} |" in table
