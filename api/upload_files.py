"""The bytes of uploads: parts streamed to the store as they come, joined and hashed when all are there.

    uploads/<id>/parts/00000      a part as it arrived
    uploads/<id>/news.parquet     the whole file, under what is harmless of the name a caller gave, so that messages
                                  about it say which one is meant

Knows the catalog's uploads and the store; nothing of HTTP.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from anyio import CancelScope, to_thread

from api.allowances import Allowances
from api.errors import Refusal
from curator.catalog import Catalog, Upload, UploadState
from curator.catalog.ids import new_id
from curator.errors import ConflictError, InputError, IntegrityError, NotFoundError, RequestError
from curator.readers import EXTENSIONS
from curator.settings import Settings
from curator.storage import Store

__all__ = ["PART_BYTES", "UploadFiles"]

PART_BYTES: Final = 64 * 2**20
MIN_PART_BYTES: Final = 2**20
MAX_PART_BYTES: Final = 5 * 2**30
MAX_PARTS: Final = 10_000
_CHUNK: Final = 4 * 2**20
STEM_BYTES: Final = 120


class UploadFiles:
    """Uploads of all tenants; every method takes the tenant."""

    def __init__(self, catalog: Catalog, store: Store, settings: Settings, allowances: Allowances):
        self._catalog, self._store, self._settings, self._allowances = catalog, store, settings, allowances

    def open(
        self,
        tenant: str,
        name: str,
        size: int,
        sha256: str,
        *,
        part_bytes: int | None,
        upload_id: str | None,
    ) -> Upload:
        """Opens an upload. Raises InputError for a name no reader knows, Refusal 413 for one that is too large,
        SpaceQuotaError."""
        extension_of(name)
        if size > self._settings.max_upload_bytes:
            most = self._settings.max_upload_bytes
            raise Refusal(
                413, "too_large", f"{size} bytes announced, at most {most} are taken (WINNOW_MAX_UPLOAD_BYTES)"
            )
        chosen = part_bytes or max(PART_BYTES, -(-size // MAX_PARTS))
        if -(-size // chosen) > MAX_PARTS:
            raise RequestError(
                f"parts of {chosen} bytes make more than {MAX_PARTS} parts of {size} bytes; take larger ones"
            )
        return self._catalog.uploads.create(
            tenant,
            name,
            size,
            sha256,
            part_bytes=chosen,
            quota=self._allowances.of(tenant),
            upload_id=upload_id,
        )

    async def receive(self, tenant: str, upload_id: str, number: int, chunks: AsyncIterator[bytes]) -> None:
        """Takes part `number` (from 0), never more than one chunk in memory. Raises NotFoundError, ConflictError
        unless the upload is open, Refusal 413 as soon as the part is too long, RequestError if it ends too soon."""
        upload = await to_thread.run_sync(self._catalog.uploads.get, tenant, upload_id)
        if upload.state != UploadState.OPEN:
            raise ConflictError(f"upload {upload_id} is {upload.state} and takes no more parts")
        size, digest, taken = upload.part_size(number), hashlib.sha256(), 0
        async with _writer(self._store, _part_name(upload_id, number)) as sink:
            async for chunk in _larger(chunks):
                taken += len(chunk)
                if taken > size:
                    raise Refusal(
                        413, "too_large", f"part {number + 1} has {size} bytes, more were sent; nothing was kept"
                    )
                digest.update(chunk)
                await to_thread.run_sync(sink.write, chunk)
            if taken < size:
                raise RequestError(
                    f"part {number + 1} ended after {taken} of {size} bytes; nothing was kept, send it again"
                )
        await to_thread.run_sync(
            self._catalog.uploads.record_part, tenant, upload_id, number, taken, digest.hexdigest()
        )

    def complete(self, tenant: str, upload_id: str) -> Upload:
        """Joins the parts and compares the hash with the announced one. Twice is as good as once.

        Raises NotFoundError, ConflictError naming missing parts, RequestError with code `checksum_mismatch` for
        another hash: the upload stays open and the parts may be sent again.
        """
        upload = self._catalog.uploads.get(tenant, upload_id)
        if upload.state == UploadState.COMPLETE:
            return upload
        arrived = {part.number for part in self._catalog.uploads.parts(tenant, upload_id)}
        if arrived != set(range(upload.num_parts)):
            return self._catalog.uploads.complete(tenant, upload_id, "")  # says which parts are missing
        try:
            done = self._joined(tenant, upload)
        except NotFoundError:  # a part is gone: another request completed the upload first, or it was deleted
            done = self._catalog.uploads.get(tenant, upload_id)
            if done.state != UploadState.COMPLETE:
                raise
        for number in range(upload.num_parts):
            self._store.delete(_part_name(upload_id, number))
        return done

    def _joined(self, tenant: str, upload: Upload) -> Upload:
        digest = hashlib.sha256()
        try:
            with self._store.writer(file_name(upload)) as sink:
                for number in range(upload.num_parts):
                    with self._store.open_input(_part_name(upload.id, number)) as part:
                        while chunk := part.read(_CHUNK):
                            digest.update(chunk)
                            sink.write(chunk)
                if digest.hexdigest() != upload.sha256:
                    raise IntegrityError(
                        f"the bytes of upload {upload.id} hash to {digest.hexdigest()}, {upload.sha256} was announced; "
                        "send the parts again, or delete the upload"
                    )
            return self._catalog.uploads.complete(tenant, upload.id, digest.hexdigest())
        except IntegrityError as error:
            raise Refusal(422, "checksum_mismatch", str(error)) from error

    def keep(self, tenant: str, name: str, chunks: Iterable[bytes]) -> Upload:
        """A whole file that comes from elsewhere, as a complete upload of the tenant's: it counts in the quota, and is
        there or not at all. Raises InputError for a name no reader knows, RequestError for a file that is empty, larger
        than an upload may be or than there is room for."""
        upload_id, digest, size = new_id("upl"), hashlib.sha256(), 0
        place, room = _place(upload_id, name), self._allowances.upload_room(tenant)
        with self._store.writer(place) as sink:
            for chunk in chunks:
                size += len(chunk)
                if size > room:
                    raise RequestError(
                        f"{name} has more than the {room} bytes that may be taken (WINNOW_MAX_UPLOAD_BYTES, the "
                        "tenant's quota of upload_bytes and stored_bytes); nothing was kept"
                    )
                digest.update(chunk)
                sink.write(chunk)
            if not size:
                raise RequestError(f"{name} is empty")
        sha256 = digest.hexdigest()
        try:
            quota = self._allowances.of(tenant)  # others may have taken the room meanwhile
            self._catalog.uploads.create(tenant, name, size, sha256, part_bytes=size, quota=quota, upload_id=upload_id)
            self._catalog.uploads.record_part(tenant, upload_id, 0, size, sha256)
            return self._catalog.uploads.complete(tenant, upload_id, sha256)
        except BaseException:
            self.discard(tenant, upload_id)
            raise

    def discard(self, tenant: str, upload_id: str) -> None:
        """Removes what there is of an upload, though its row, or the tenant itself, is gone already."""
        try:
            with suppress(NotFoundError):
                self._catalog.uploads.delete(tenant, upload_id)
        finally:
            self._store.delete_folder(_folder(upload_id))

    def delete(self, tenant: str, upload_id: str) -> None:
        """Forgets an upload and removes its bytes. Raises NotFoundError."""
        self._catalog.uploads.delete(tenant, upload_id)
        for name in self._store.list(_folder(upload_id)):
            self._store.delete(name)

    def path(self, tenant: str, upload_id: str) -> str:
        """Where the whole file lies, for a reader. Raises NotFoundError, ConflictError if it is not complete."""
        upload = self._catalog.uploads.get(tenant, upload_id)
        if upload.state != UploadState.COMPLETE:
            raise ConflictError(f"upload {upload_id} is not complete; send its parts and POST {upload_id}:complete")
        return f"{self._base}/{file_name(upload)}"

    def require_there(self, tenant: str, inputs: Iterable[str]) -> None:
        """That no input is a file of an upload that was deleted since. Raises ConflictError."""
        for place in inputs:
            if (upload_id := self._upload_of(place)) is not None:
                try:
                    self._catalog.uploads.get(tenant, upload_id)
                except NotFoundError:
                    raise ConflictError(
                        f"{posixpath.basename(place)} is gone: its upload {upload_id} was deleted; upload it again and "
                        "register a dataset of it"
                    ) from None

    def _upload_of(self, place: str) -> str | None:
        """The upload whose file lies there; None for any other place."""
        folder = f"{self._base}/uploads/"
        return place[len(folder) :].split("/", 1)[0] if place.startswith(folder) else None

    @property
    def _base(self) -> str:
        return self._store.base if self._store.is_local else self._store.uri.rstrip("/")


def extension_of(name: str) -> str:
    """The known extension a name ends with. Raises InputError if there is none."""
    lower = name.lower()
    found = [extension for extension in EXTENSIONS if lower.endswith(extension)]
    if not found:
        raise InputError(f"{name!r} has an unknown extension; known are {', '.join(EXTENSIONS)}", file=None)
    return max(found, key=len)


def file_name(upload: Upload) -> str:
    """Where the whole file lies."""
    return _place(upload.id, upload.name)


def _place(upload_id: str, name: str) -> str:
    """Letters, digits, dots, dashes and underscores stay, at most STEM_BYTES of them before the extension."""
    extension = extension_of(name)
    stem = re.sub(r"[^\w.-]", "_", name[: -len(extension)].replace("\\", "/").rsplit("/", 1)[-1]).lstrip(".")
    return f"{_folder(upload_id)}/{stem.encode()[:STEM_BYTES].decode(errors='ignore') or 'data'}{extension}"


def _folder(upload_id: str) -> str:
    return f"uploads/{upload_id}"


def _part_name(upload_id: str, number: int) -> str:
    return f"{_folder(upload_id)}/parts/{number:05d}"


@asynccontextmanager
async def _writer(store: Store, name: str) -> AsyncIterator[Any]:
    """`store.writer` with its waiting (opening, syncing, renaming) done in threads; a broken connection or a server
    that is told to end still leaves nothing behind."""
    writer = store.writer(name)
    sink = await to_thread.run_sync(writer.__enter__)
    try:
        yield sink
    except BaseException as error:
        with CancelScope(shield=True):
            await to_thread.run_sync(writer.__exit__, type(error), error, error.__traceback__)
        raise
    await to_thread.run_sync(writer.__exit__, None, None, None)


async def _larger(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in chunks of about 1 MiB: one hop to a thread each, not one a network packet."""
    held: list[bytes] = []
    size = 0
    async for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= 2**20:
            yield b"".join(held)
            held, size = [], 0
    if size:
        yield b"".join(held)
