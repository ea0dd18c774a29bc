"""Datasets: versions are settled once, deletion hides."""

from __future__ import annotations

import pytest

from curator.catalog import Catalog, Dataset
from curator.catalog.datasets import VersionState
from curator.errors import ConflictError, NotFoundError


@pytest.fixture
def dataset(catalog: Catalog) -> Dataset:
    return catalog.datasets.create("local", "reviews", "text", {"text": "body"}, ["upl_1"])[0]


def accept(catalog: Catalog, dataset_id: str, number: int, tenant: str = "local") -> object:
    return catalog.datasets.accept(
        tenant, dataset_id, number, digest="d", rows=3, bytes=30, columns={"body": "string"}, statistics={"nulls": 0}
    )


def test_a_dataset_and_its_first_version(catalog: Catalog, dataset: Dataset) -> None:
    assert catalog.datasets.get("local", dataset.id) == dataset
    version = catalog.datasets.version("local", dataset.id)
    assert (version.number, version.state, version.inputs, version.rows) == (
        1,
        VersionState.VALIDATING,
        ("upl_1",),
        None,
    )
    accept(catalog, dataset.id, 1)
    version = catalog.datasets.version("local", dataset.id, 1)
    assert (version.state, version.rows, version.columns) == (VersionState.READY, 3, {"body": "string"})
    assert catalog.datasets.get("local", dataset.id).version == 2


def test_a_version_is_settled_once(catalog: Catalog, dataset: Dataset) -> None:
    rejected = catalog.datasets.reject("local", dataset.id, 1, code="bad_input", message="not Parquet")
    assert rejected.error == {"code": "bad_input", "message": "not Parquet"}
    with pytest.raises(ConflictError, match="rejected already"):
        accept(catalog, dataset.id, 1)
    assert catalog.datasets.version("local", dataset.id) == rejected


def test_versions_count_up(catalog: Catalog, dataset: Dataset) -> None:
    assert catalog.datasets.add_version("local", dataset.id, ["upl_2", "upl_3"]).number == 2
    assert catalog.datasets.version("local", dataset.id).inputs == ("upl_2", "upl_3")
    fetched = catalog.datasets.add_version("local", dataset.id, ["https://x/a.csv"], origin={"url": "https://x/a.csv"})
    assert (fetched.number, fetched.origin) == (3, {"url": "https://x/a.csv"})
    first = catalog.datasets.versions("local", dataset.id, limit=2)
    rest = catalog.datasets.versions("local", dataset.id, limit=2, cursor=first.next_cursor)
    assert [version.number for version in first.items + rest.items] == [3, 2, 1] and rest.next_cursor is None
    with pytest.raises(NotFoundError, match="no version 4"):
        catalog.datasets.version("local", dataset.id, 4)


def test_the_version_to_use_is_the_newest_that_is_ready(catalog: Catalog, dataset: Dataset) -> None:
    def usable() -> int:
        return catalog.datasets.usable_version("local", dataset.id).number

    assert usable() == 1  # none is ready
    catalog.datasets.add_version("local", dataset.id, ["b"])
    assert usable() == 2
    accept(catalog, dataset.id, 1)
    assert usable() == 1
    catalog.datasets.reject("local", dataset.id, 2, code="bad_input", message="not Parquet")
    assert usable() == 1
    accept(catalog, dataset.id, catalog.datasets.add_version("local", dataset.id, ["c"]).number)
    assert usable() == 3


def test_a_reserved_id_makes_one_dataset(catalog: Catalog) -> None:
    first = catalog.datasets.create("local", "a", "text", {}, ["x"], dataset_id="ds_1")
    assert catalog.datasets.create("local", "a", "text", {}, ["x"], dataset_id="ds_1") == first
    assert len(catalog.datasets.versions("local", "ds_1").items) == 1


def test_a_deleted_dataset_is_gone_for_everybody(catalog: Catalog, dataset: Dataset) -> None:
    catalog.datasets.delete("local", dataset.id)
    for act in (catalog.datasets.get, catalog.datasets.delete, catalog.datasets.version, catalog.datasets.versions):
        with pytest.raises(NotFoundError):
            act("local", dataset.id)
    assert catalog.datasets.page("local").items == ()


def test_another_tenants_dataset_does_not_exist(catalog: Catalog, dataset: Dataset) -> None:
    other = catalog.keys.tenant("other").id
    for act in (
        lambda: catalog.datasets.get(other, dataset.id),
        lambda: catalog.datasets.add_version(other, dataset.id, ["x"]),
        lambda: catalog.datasets.version(other, dataset.id),
        lambda: catalog.datasets.versions(other, dataset.id),
        lambda: catalog.datasets.usable_version(other, dataset.id),
        lambda: accept(catalog, dataset.id, 1, other),
        lambda: catalog.datasets.reject(other, dataset.id, 1, code="x", message="x"),
        lambda: catalog.datasets.delete(other, dataset.id),
    ):
        with pytest.raises(NotFoundError):
            act()
    assert catalog.datasets.page(other).items == ()
    assert catalog.datasets.version("local", dataset.id).state == VersionState.VALIDATING


def test_pages(catalog: Catalog) -> None:
    made = [catalog.datasets.create("local", str(n), "text", {}, ["x"])[0].id for n in range(3)]
    first = catalog.datasets.page("local", limit=2)
    second = catalog.datasets.page("local", limit=2, cursor=first.next_cursor)
    assert [row.id for row in first.items + second.items] == made[::-1]
