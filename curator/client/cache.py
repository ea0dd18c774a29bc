"""Local copies of immutable files: fetched once, checked on arrival, evicted when the disk share is full.

Knows names and digests, nothing of shards or of where files come from. Safe for several processes on one folder: a
file appears whole by a rename, and an evicted file stays readable for whoever has it mapped.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import math
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from curator.errors import DiskFullError, IntegrityError, RequestError

__all__ = ["FileCache", "claim", "default_cache_dir", "require", "sweep", "trim"]

STALE_S = 60
"""Age at which a temporary file that no process holds is removed."""

Fetch = Callable[[BinaryIO], None]


def default_cache_dir() -> Path:
    """`WINNOW_CACHE`, or `winnow` in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("WINNOW_CACHE") or Path(home) / "winnow")


class FileCache:
    """A folder of copies.

    limit_bytes: the most it may hold, the file just fetched aside; None for no limit. The least recently used go
    first. Every file is a copy of something that lies elsewhere, so none is the only one; a file that is mapped when it
    goes stays readable, and keeps its space until it is let go.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None, *, limit_bytes: int | None = None):
        self.root = Path(root) if root is not None else default_cache_dir()
        self.limit_bytes = limit_bytes
        self.root.mkdir(parents=True, exist_ok=True)
        sweep(self.root)

    def require(self, num_bytes: int) -> None:
        """Raises RequestError when one file of this size is over the limit."""
        require(self.limit_bytes, num_bytes)

    def get(self, name: str, digest: str, fetch: Fetch) -> Any:
        """The file as a mapped `pyarrow.Buffer`; `fetch` writes it to a temporary file when it is not here.

        A file whose SHA-256 is not `digest` is deleted and fetched once more. Raises IntegrityError naming it when
        that fails too, DiskFullError, and what `fetch` raises.
        """
        path = self.root / name
        buffer = self._map(path)
        if buffer is None:
            self._arrive(path, name, digest, fetch)
            if self.limit_bytes is not None:
                trim(self.root, self.limit_bytes, keep=path)
            buffer = self._map(path)
        return buffer if buffer is not None else self.get(name, digest, fetch)  # evicted by another process meanwhile

    def discard(self, name: str) -> None:
        """Deletes a copy if it is here."""
        (self.root / name).unlink(missing_ok=True)

    def _map(self, path: Path) -> Any:
        try:
            os.utime(path)
            with pa.memory_map(str(path)) as source:
                return source.read_buffer()
        except FileNotFoundError:
            return None

    def _arrive(self, path: Path, name: str, digest: str, fetch: Fetch) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = ""
        for _ in range(2):
            temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.tmp")
            try:
                found = _fetched_digest(temporary, fetch)
                if found == digest:
                    os.replace(temporary, path)
                    _sync_folder(path.parent)
                    return
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise DiskFullError(f"no space left for {name} in {self.root}; free some or set a limit") from error
                raise
            finally:
                temporary.unlink(missing_ok=True)
        raise IntegrityError(
            f"{name} arrived twice with the digest {found}, so it is not what its name says. Its origin is damaged: "
            "restore it there."
        )


def require(limit_bytes: int | None, num_bytes: int) -> None:
    """Raises RequestError when one file of this size is over the limit."""
    if limit_bytes is not None and num_bytes > limit_bytes:
        raise RequestError(
            f"a cache of {limit_bytes} bytes cannot hold one shard of {num_bytes}; give at least that much"
        )


def trim(root: Path, limit_bytes: int, *, keep: Path | None = None, used_before: float = math.inf) -> int:
    """Deletes copies under a folder, the least recently used first, until the rest is within the limit.

    keep: is spared. used_before: a Unix time; what was used since is spared. Returns the bytes that are left.
    """
    files = []
    for path in root.rglob("*.arrow"):
        try:
            found = path.stat()
            files.append((found.st_mtime, found.st_size, path))
        except FileNotFoundError:
            continue
    total = sum(size for _, size, _ in files)
    for used, size, path in sorted(files):
        if total <= limit_bytes or used >= used_before:
            break
        if path != keep:
            path.unlink(missing_ok=True)
            total -= size
    return total


def claim(file: BinaryIO) -> None:
    """Marks a temporary file as being written by this process, for as long as it is open."""
    with contextlib.suppress(OSError):  # a file system without locks; while it is written, its age protects it too
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sweep(root: Path) -> None:
    """Removes what crashes left behind; nothing there can stop a start."""
    for path in root.rglob("*.tmp"):
        try:
            if time.time() - path.stat().st_mtime > STALE_S:
                with path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
        except OSError:
            continue


def _fetched_digest(temporary: Path, fetch: Fetch) -> str:
    """Fetches into a synced file; returns the SHA-256 of what lies there now."""
    with temporary.open("w+b") as file:
        claim(file)
        fetch(file)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
