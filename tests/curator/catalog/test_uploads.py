"""Uploads: every part once, the whole file as announced, within the quota."""

from __future__ import annotations

import pytest

from curator.catalog import Catalog, Quota, Upload, UploadState
from curator.errors import ConflictError, IntegrityError, NotFoundError, RequestError

DIGEST = "ab" * 32


def opened(catalog: Catalog, size: int = 25, *, quota: int = 1000, upload_id: str | None = None) -> Upload:
    return catalog.uploads.create(
        "local", "rows.parquet", size, DIGEST, part_bytes=10, quota=Quota(upload_bytes=quota), upload_id=upload_id
    )


def send(catalog: Catalog, upload: Upload, *numbers: int) -> None:
    for number in numbers:
        catalog.uploads.record_part("local", upload.id, number, upload.part_size(number), "cd" * 32)


def test_from_open_to_complete(catalog: Catalog) -> None:
    upload = opened(catalog)
    assert (upload.num_parts, [upload.part_size(number) for number in range(3)]) == (3, [10, 10, 5])
    send(catalog, upload, 2, 0, 0, 1)
    assert [part.number for part in catalog.uploads.parts("local", upload.id)] == [0, 1, 2]
    done = catalog.uploads.complete("local", upload.id, DIGEST.upper())
    assert (done.state, done.version) == (UploadState.COMPLETE, 6)
    assert catalog.uploads.complete("local", upload.id, DIGEST) == done
    with pytest.raises(ConflictError, match="complete"):
        send(catalog, upload, 0)


def test_a_missing_part_is_named(catalog: Catalog) -> None:
    upload = opened(catalog)
    send(catalog, upload, 1)
    with pytest.raises(ConflictError, match=r"misses 2 of 3 parts \(1, 3\)"):
        catalog.uploads.complete("local", upload.id, DIGEST)


def test_wrong_bytes_are_refused(catalog: Catalog) -> None:
    upload = opened(catalog)
    with pytest.raises(RequestError, match=r"parts 1\.\.3, not 4"):
        catalog.uploads.record_part("local", upload.id, 3, 10, "cd" * 32)
    with pytest.raises(RequestError, match=r"part 1 of upl_\w+ has 9 bytes, 10 were announced"):
        catalog.uploads.record_part("local", upload.id, 0, 9, "cd" * 32)
    send(catalog, upload, 0, 1, 2)
    with pytest.raises(IntegrityError, match="announced"):
        catalog.uploads.complete("local", upload.id, "ef" * 32)
    assert catalog.uploads.get("local", upload.id).state == UploadState.OPEN


def test_the_quota_counts_open_uploads_and_forgets_deleted_ones(catalog: Catalog) -> None:
    upload = opened(catalog, quota=50)
    opened(catalog, quota=50)
    with pytest.raises(RequestError, match="50 of 50 bytes are in use"):
        opened(catalog, 1, quota=50)
    assert catalog.uploads.bytes_in_use("local") == 50
    assert catalog.uploads.delete("local", upload.id).state == UploadState.DELETED
    assert catalog.uploads.bytes_in_use("local") == 25
    opened(catalog, quota=50)
    assert len(catalog.uploads.page("local").items) == 2


def test_a_reserved_id_opens_one_upload(catalog: Catalog) -> None:
    first = opened(catalog, quota=25, upload_id="upl_1")
    assert opened(catalog, quota=25, upload_id="upl_1") == first  # though there is no room for another


def test_an_empty_file_is_refused(catalog: Catalog) -> None:
    with pytest.raises(RequestError, match="0 bytes"):
        opened(catalog, 0)


def test_another_tenants_upload_does_not_exist(catalog: Catalog) -> None:
    other, upload = catalog.keys.tenant("other").id, opened(catalog)
    for act in (
        lambda: catalog.uploads.get(other, upload.id),
        lambda: catalog.uploads.parts(other, upload.id),
        lambda: catalog.uploads.record_part(other, upload.id, 0, 10, "x"),
        lambda: catalog.uploads.complete(other, upload.id, DIGEST),
        lambda: catalog.uploads.delete(other, upload.id),
    ):
        with pytest.raises(NotFoundError):
            act()
    assert catalog.uploads.page(other).items == ()


def test_pages(catalog: Catalog) -> None:
    made = [opened(catalog).id for _ in range(3)]
    first = catalog.uploads.page("local", limit=2)
    second = catalog.uploads.page("local", limit=2, cursor=first.next_cursor)
    assert [upload.id for upload in first.items + second.items] == made[::-1]
    assert second.next_cursor is None


def test_any_number_of_ids_may_be_asked_for(catalog: Catalog) -> None:
    """More than the 65,535 parameters that a statement of PostgreSQL takes."""
    there, gone = opened(catalog), opened(catalog)
    catalog.uploads.delete("local", gone.id)
    unknown = {f"upl_{number}" for number in range(70_000)}
    assert catalog.uploads.missing({*unknown, there.id, gone.id}) == {*unknown, gone.id}
    assert catalog.uploads.missing([]) == set()
