"""One door to bytes: a directory or an object-store prefix, read and written the same way.

Knows nothing of shards, runs or formats. A write is whole or absent: local files go to a temporary name, are
synced and renamed; object stores publish an object only when its upload completes.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import posixpath
import shutil
import time
import uuid
from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.fs as pafs

from curator.errors import DiskFullError, NotFoundError, RequestError, RunFailedError, TransportError
from curator.process import has_ended, process_name

__all__ = ["Store"]

_count: Final = itertools.count(1)
_STALE_S: Final = 86400.0
"""A temporary file of another host that nobody wrote to for this long was left by a process that is gone."""

_RENEWED_S: Final = 86400.0
"""How old an object may be that is counted on without being written again; sweeps spare what is younger than days."""

_FORBIDDEN = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH")
"""What S3 calls it when the credentials are unknown, wrong or not enough."""


class Store:
    """A root under which paths are relative, slash-separated and never climb out."""

    def __init__(self, filesystem: pafs.FileSystem, base: str, uri: str):
        self.filesystem, self.base, self.uri = filesystem, base.rstrip("/"), uri
        self.is_local = isinstance(filesystem, pafs.LocalFileSystem)

    @classmethod
    def open(cls, uri: str | os.PathLike[str]) -> Store:
        """A store for a local path or an object-store URL (`s3://bucket/prefix`). Creates nothing."""
        text = os.fspath(uri)
        if "://" not in text:
            path = os.path.abspath(text)
            return cls(pafs.LocalFileSystem(), path, path)
        try:
            filesystem, base = pafs.FileSystem.from_uri(text)
        except (pa.ArrowInvalid, ValueError) as error:
            raise RequestError(
                f"cannot open {text!r} as a store: {error}. Give a directory or an s3:// URL."
            ) from error
        return cls(filesystem, base, text)

    def path(self, name: str) -> str:
        """The filesystem path of a relative name. Raises RequestError if it would leave the store."""
        clean = posixpath.normpath(name)
        if clean.startswith(("/", "../")) or clean == "..":
            raise RequestError(f"path {name!r} leaves the store {self.uri}; names must be relative")
        return f"{self.base}/{clean}"

    def place(self, name: str) -> str:
        """Where a name lies, for people: a local path, or a URL without the store's connection settings."""
        return self.path(name) if self.is_local else f"{self.uri.split('://', 1)[0]}://{self.path(name)}"

    def require_writable(self) -> None:
        """Raises RequestError when nothing could be written here; creates nothing."""
        if not self.is_local:
            return self._require_upload()
        folder = self.base or "/"
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        if not os.path.isdir(folder):
            raise RequestError(f"{folder} is a file, so nothing can be written under {self.uri}; name another folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise RequestError(f"no permission to write in {folder}; name another folder or change its permissions")

    def _require_upload(self) -> None:
        """Begins an upload and gives it up: only the store itself knows who may write where."""
        with self._answering():
            sink = self.filesystem.open_output_stream(self.path(f".{uuid.uuid4().hex}.tmp"))
        with contextlib.suppress(OSError):  # who may write may not be allowed to give up; nothing is published anyway
            self._abandon(sink, "")

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """An object store's refusal as RequestError, its silence as TransportError; a disk's errors are its own."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            if self.is_local:
                raise
            place, bucket = self.place("."), self.base.split("/", 1)[0]
            if "NO_SUCH_BUCKET" in str(error):
                told = f"there is no bucket {bucket!r} for {place}; create the bucket or correct the address"
                raise RequestError(f"{told} ({error})") from error
            if any(code in str(error) for code in _FORBIDDEN):
                told = f"no permission to use {place}; check the credentials and what they allow"
                raise RequestError(f"{told} ({error})") from error
            raise TransportError(f"{place} does not answer: {error}; check the address and try again") from error

    def child(self, name: str) -> Store:
        """A store rooted at a folder of this one."""
        return Store(self.filesystem, self.path(name), f"{self.uri.rstrip('/')}/{name}")

    def exists(self, name: str) -> bool:
        with self._answering():
            return bool(self.filesystem.get_file_info(self.path(name)).type == pafs.FileType.File)

    def size(self, name: str) -> int:
        """Size in bytes. Raises NotFoundError."""
        with self._answering():
            info = self.filesystem.get_file_info(self.path(name))
        if info.type != pafs.FileType.File:
            raise NotFoundError(f"no file {name!r} in {self.uri}")
        return int(info.size)

    def renew(self, name: str, size: int) -> bool:
        """Whether a file of this size is there to be counted on. Its time is now from then on, so that no sweep takes
        it for forgotten; an object's time cannot be set, so one older than a day is to be written again."""
        if self.is_local:
            try:
                os.utime(self.path(name))
            except (FileNotFoundError, PermissionError):  # another user's file: write it again, as one's own
                return False
        with self._answering():
            info = self.filesystem.get_file_info(self.path(name))
        fresh = self.is_local or time.time() - _modified_s(info) < _RENEWED_S
        return bool(info.type == pafs.FileType.File and info.size == size and fresh)

    def touched_s(self, name: str) -> float | None:
        """When a file was last written, renewed, or put back from a backup, whatever times that gave it; seconds since
        1970, None if it is not there."""
        if self.is_local:
            try:
                status = os.stat(self.path(name))
            except FileNotFoundError:
                return None
            return max(status.st_mtime, status.st_ctime)
        with self._answering():
            info = self.filesystem.get_file_info(self.path(name))
        return _modified_s(info) if info.type == pafs.FileType.File else None

    def list(self, name: str = "") -> list[str]:
        """Relative names of the files below a folder, sorted; empty if the folder does not exist."""
        return sorted(self.sizes(name))

    def sizes(self, name: str = "") -> dict[str, int]:
        """Bytes of the files below a folder by relative name; empty if the folder does not exist."""
        base = self.path(name) if name else self.base
        selector = pafs.FileSelector(base, recursive=True, allow_not_found=True)
        with self._answering():
            try:
                infos = self.filesystem.get_file_info(selector)
            except FileNotFoundError:  # a folder came or went in the midst of the look
                infos = self.filesystem.get_file_info(selector)
        return {info.path[len(self.base) + 1 :]: int(info.size) for info in infos if info.type == pafs.FileType.File}

    def open_input(self, name: str) -> Any:
        """A seekable `pyarrow.NativeFile`; memory-mapped when local. Raises NotFoundError."""
        try:
            if self.is_local:
                return pa.memory_map(self.path(name))
            with self._answering():
                return self.filesystem.open_input_file(self.path(name))
        except FileNotFoundError as error:
            raise NotFoundError(f"no file {name!r} in {self.uri}") from error

    def read_bytes(self, name: str) -> bytes:
        """The whole file. Raises NotFoundError."""
        with self.open_input(name) as source:
            return bytes(source.read())

    def write_bytes(self, name: str, data: bytes | memoryview) -> None:
        with self.writer(name) as sink:
            sink.write(data)

    @contextlib.contextmanager
    def writer(self, name: str) -> Iterator[Any]:
        """A sink that becomes `name` on a clean exit and leaves nothing on an exception.

        Raises DiskFullError when the device is full, RunFailedError when it refuses the write. What can be gone on
        with, a run or nothing, is the caller's to say.
        """
        final = self.path(name)
        temporary = _temporary(final) if self.is_local else final
        try:
            if self.is_local:
                os.makedirs(os.path.dirname(final), exist_ok=True)
            sink = pa.OSFile(temporary, "wb") if self.is_local else self.filesystem.open_output_stream(final)
            try:
                yield sink
            except BaseException:
                self._abandon(sink, temporary)
                raise
            sink.close()
            if self.is_local:
                _sync(temporary)
                os.replace(temporary, final)
                _sync(os.path.dirname(final))
        except OSError as error:
            if self.is_local and os.path.exists(temporary):
                os.remove(temporary)
            raise _storage_error(error, name, self.uri) from error

    def _abandon(self, sink: Any, temporary: str) -> None:
        """Closes without publishing: an object store's upload is aborted, a local temporary removed."""
        if not self.is_local:
            abort = getattr(sink, "abort", None)
            if abort is not None:
                abort()
            return
        try:
            sink.close()
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)

    def sweep(self, name: str = "") -> int:
        """Removes the temporary files below a folder whose writers have died, and says how many. A file that a living
        process writes stays: its name says whose it is. Object stores have none: nothing shows before it is whole."""
        left = [file for file in self.list(name) if _abandoned(self.path(file))] if self.is_local else []
        for file in left:
            self.delete(file)
        return len(left)

    def delete_folder(self, name: str) -> int:
        """Removes a folder with all that is below it, and says how many bytes that were; again removes the rest."""
        found = self.sizes(name)
        for file in found:
            self.delete(file)
        if self.is_local:
            shutil.rmtree(self.path(name), ignore_errors=True)
        return sum(found.values())

    def delete(self, name: str) -> None:
        """Removes a file if it is there; another process may remove it at the same time."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(self.path(name))


def _modified_s(info: pafs.FileInfo) -> float:
    """An object's time; one that tells none counts as new."""
    return time.time() if info.mtime_ns is None else info.mtime_ns / 1e9


def _temporary(final: str) -> str:
    """A name beside the final one that tells which process writes it."""
    return f"{final}~{process_name().replace('/', '~')}~{next(_count)}.tmp"


def _abandoned(path: str) -> bool:
    """Whether a file is a temporary one (see `_temporary`) that nobody will finish."""
    _, *writer, _ = path.rsplit("~", 5) if path.endswith(".tmp") and path.count("~") >= 5 else ("", "")
    if not writer:
        return False
    try:
        return has_ended("/".join(writer)) or time.time() - os.path.getmtime(path) > _STALE_S
    except FileNotFoundError:
        return False


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _storage_error(error: OSError, name: str, uri: str) -> RunFailedError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
    if full:
        return DiskFullError(f"no space left writing {name!r} in {uri}; free some and try again")
    return RunFailedError(f"cannot write {name!r} in {uri}: {error}; check the permissions and try again")
