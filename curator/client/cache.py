"""Local copies of immutable files: fetched once, checked on arrival, evicted when the disk share is full.

Knows names and digests, nothing of shards or of where files come from. Safe for several processes on one folder: a
file appears whole by a rename, and an evicted file stays readable for whoever has it mapped.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from curator.client.arriving import Arriving
from curator.client.locks import alone
from curator.errors import DiskFullError, IntegrityError, RequestError

__all__ = ["FileCache", "claim", "default_cache_dir", "require", "sweep", "trim"]

STALE_S = 60
"""Age at which a temporary file that no process holds is removed."""

Fetch = Callable[[Arriving], None]


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
        self._syncing: dict[int, _Syncing] = {}  # by process: a fork has no threads
        self.root.mkdir(parents=True, exist_ok=True)
        sweep(self.root)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_syncing": {}}

    def require(self, num_bytes: int) -> None:
        """Raises RequestError when one file of this size is over the limit."""
        require(self.limit_bytes, num_bytes)

    def get(self, name: str, digest: str, fetch: Fetch) -> Any:
        """The file as a mapped `pyarrow.Buffer`; `fetch` writes it when it is not here.

        One of those who want it fetches it, the others wait. A file whose SHA-256 is not `digest` is deleted and
        fetched once more. One that is right is given out at once; it gets its name when it is synced, beside the
        fetching of the next. Raises IntegrityError naming it when it
        arrived wrong twice, DiskFullError, also of the file before, and what `fetch` raises.
        """
        path = self.root / name
        buffer = self._map(path)
        return buffer if buffer is not None else self._arrive(path, name, digest, fetch)

    def has(self, name: str) -> bool:
        """Whether a file is here, whatever its state."""
        return (self.root / name).is_file()

    def settle(self) -> None:
        """Waits until what arrived is synced and has its name. Raises DiskFullError."""
        if syncing := self._syncing.get(os.getpid()):
            syncing.wait()

    def discard(self, name: str) -> None:
        """Deletes a copy if it is here."""
        self.settle()
        (self.root / name).unlink(missing_ok=True)

    def _map(self, path: Path) -> Any:
        try:
            with contextlib.suppress(PermissionError):  # another user's
                os.utime(path)
            return _mapped(path)
        except FileNotFoundError:
            return None

    def _arrive(self, path: Path, name: str, digest: str, fetch: Fetch) -> Any:
        path.parent.mkdir(parents=True, exist_ok=True)
        syncing = self._syncing.setdefault(os.getpid(), _Syncing(self.root, self.limit_bytes))
        if (buffer := syncing.coming(path)) is not None:
            return buffer
        found = ""
        with contextlib.ExitStack() as held:
            held.enter_context(alone(path.parent))
            if (buffer := self._map(path)) is not None:  # somebody else's fetch was waited for
                return buffer
            for _ in range(2):
                temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.tmp")
                with told(name, self.root), contextlib.ExitStack() as undone:
                    undone.callback(temporary.unlink, missing_ok=True)
                    file = undone.enter_context(temporary.open("w+b"))
                    claim(file)
                    arriving = Arriving(file)
                    fetch(arriving)
                    found = arriving.digest()
                    if found == digest:
                        syncing.wait()
                        buffer = _mapped(temporary)
                        undone.pop_all()
                        syncing.begin(path, temporary, buffer, file, held.pop_all())
                        return buffer
        raise IntegrityError(
            f"{name} arrived twice with the digest {found}, so it is not what its name says. Its origin is damaged: "
            "restore it there."
        )


class _Syncing:
    """One process's files that are right but not yet sure to be there after a power cut: synced, then renamed, by a
    thread, one at a time."""

    def __init__(self, root: Path, limit_bytes: int | None):
        self._root, self._limit_bytes = root, limit_bytes
        self._thread = ThreadPoolExecutor(1, "winnow-sync")
        self._files: dict[Path, tuple[Any, Future[None]]] = {}

    def coming(self, path: Path) -> Any:
        """A file that has not got its name yet, mapped; None when there is none."""
        found = self._files.get(path)
        return None if found is None else found[0]

    def begin(self, path: Path, temporary: Path, buffer: Any, file: BinaryIO, held: contextlib.ExitStack) -> None:
        """held: is closed when the file has its name."""
        self._files[path] = buffer, self._thread.submit(self._keep, path, temporary, file, held)

    def wait(self) -> None:
        """Until all have their names. Raises DiskFullError."""
        for path, (_, kept) in list(self._files.items()):
            try:
                kept.result()
            finally:
                self._files.pop(path, None)

    def _keep(self, path: Path, temporary: Path, file: BinaryIO, held: contextlib.ExitStack) -> None:
        try:
            with held, told(str(path.relative_to(self._root)), self._root):
                with file:
                    os.fsync(file.fileno())
                os.utime(temporary)
                os.replace(temporary, path)
                _sync_folder(path.parent)
                if self._limit_bytes is not None:
                    trim(self._root, self._limit_bytes, keep=path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def told(name: str, root: Path) -> Iterator[None]:
    """A full disk as a DiskFullError that says of what."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(f"no space left for {name} in {root}; free some or set a limit") from error


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


def _mapped(path: Path) -> Any:
    with pa.memory_map(str(path)) as source:
        return source.read_buffer()


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
