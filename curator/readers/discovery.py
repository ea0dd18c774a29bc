"""Finding inputs: files, globs, folders and object-store URLs become a list of sources in a fixed order.

Knows nothing of what is inside the files; the name decides the format.
"""

from __future__ import annotations

import errno
import fnmatch
import glob
import os
import posixpath
import re
from collections.abc import Iterable, Sequence
from typing import Final, NoReturn

import pyarrow.fs as pafs

from curator.errors import InputError, TransportError
from curator.readers.opening import address_of
from curator.readers.unit import Compression, Format, Source
from curator.storage import Store

__all__ = ["EXTENSIONS", "belongs", "discover"]

EXTENSIONS: Final[dict[str, tuple[Format, Compression]]] = {
    ".parquet": ("parquet", "none"),
    ".pq": ("parquet", "none"),
    ".jsonl": ("jsonl", "none"),
    ".ndjson": ("jsonl", "none"),
    ".jsonl.gz": ("jsonl", "gzip"),
    ".ndjson.gz": ("jsonl", "gzip"),
    ".jsonl.zst": ("jsonl", "zstd"),
    ".ndjson.zst": ("jsonl", "zstd"),
    ".csv": ("csv", "none"),
    ".csv.gz": ("csv", "gzip"),
    ".csv.zst": ("csv", "zstd"),
    ".arrow": ("arrow", "none"),
    ".feather": ("arrow", "none"),
    ".ipc": ("arrow", "none"),
    ".arrows": ("arrow_stream", "none"),
    ".tar": ("webdataset", "none"),
}
"""Format and compression by the end of a file's name, lower case."""


def discover(inputs: Sequence[str], *, within: Sequence[str] | None = None) -> list[Source]:
    """The files that the inputs name: in the order given, sorted by path inside a glob or a folder.

    A folder is walked to its leaves; files with unknown extensions and names that begin with a dot are passed over.
    A URL ending in a known extension is a file, otherwise a prefix; `*`, `?` and `[` make a glob, `**` crosses
    folders; connection settings may follow (`s3://bucket/data/*.csv?endpoint_override=host:9000&scheme=http`).
    `within`: folders that every local file must lie in once links are followed; None: anywhere.

    Raises InputError naming the path: missing, empty, unknown extension, forbidden, named twice, led out of `within` by
    a link, or a folder or glob with nothing readable in it.
    """
    if not inputs:
        raise InputError("no inputs given; name at least one file, folder, glob or URL")
    found = [source for text in inputs for source in (_remote(text) if "://" in text else _local(text))]
    seen: set[str] = set()
    for source in found:
        real = source.uri if "://" in source.uri else os.path.realpath(source.uri)
        if within is not None and "://" not in source.uri and not _lies_in(real, within):
            raise InputError(
                "a link leads out of the folders that may be read; leave it out, or copy it", file=source.uri
            )
        if real in seen:
            raise InputError("named twice by the inputs; its rows would be counted twice", file=source.uri)
        seen.add(real)
    return found


def belongs(uri: str, inputs: Sequence[str]) -> bool:
    """Whether a file is one that the inputs can name: an input itself, or below a folder, glob or prefix of them, links
    followed."""
    if "://" not in uri:
        return _lies_in(os.path.realpath(uri), [_fixed(text) for text in inputs if "://" not in text])
    address, connection = address_of(uri)
    bases = [_fixed(base) for base, reached in map(address_of, inputs) if "://" in base and reached == connection]
    return ".." not in address and any(address == base or address.startswith(f"{base}/") for base in bases)


def _fixed(text: str) -> str:
    """What an input names, or the last folder above a glob's first mark."""
    if not _is_glob(text) or os.path.lexists(text):
        return text.rstrip("/")
    return posixpath.dirname(re.split(r"[*?\[]", text, maxsplit=1)[0])


def _lies_in(real: str, folders: Sequence[str]) -> bool:
    return any(os.path.commonpath([real, os.path.realpath(folder)]) == os.path.realpath(folder) for folder in folders)


def known(path: str) -> tuple[Format, Compression] | None:
    """Format and compression that a file's name promises, or None."""
    name = posixpath.basename(path).lower()
    for extension in sorted(EXTENSIONS, key=len, reverse=True):
        if name.endswith(extension) and name != extension:
            return EXTENSIONS[extension]
    return None


def _local(text: str) -> list[Source]:
    path = os.path.abspath(os.path.expanduser(text))
    if _is_glob(text) and not os.path.lexists(path):
        matches = sorted(glob.glob(path, recursive=True))
        files = [file for match in matches for file in (_walk(match) if os.path.isdir(match) else [match])]
        return _sources(text, files, "the glob")
    if os.path.isdir(path):
        return _sources(text, _walk(path), "the folder")
    return [_file(path)]


def _walk(folder: str) -> list[str]:
    """Files below a folder, sorted by path; an unreadable folder is an error, not an empty one."""
    files: list[str] = []
    for parent, folders, names in os.walk(folder, onerror=_forbidden):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [os.path.join(parent, name) for name in names if not name.startswith(".")]
    return sorted(files)


def _forbidden(error: OSError) -> NoReturn:
    path = str(error.filename)
    if error.errno in (errno.EACCES, errno.EPERM):
        raise InputError("no permission to list this folder; grant access or leave it out", file=path) from error
    raise InputError(f"cannot list this folder: {error.strerror}", file=path) from error


def _sources(text: str, files: Iterable[str], what: str) -> list[Source]:
    files = list(files)
    readable = [path for path in files if known(path)]
    if not readable:
        there = ", ".join(sorted({posixpath.basename(path) for path in files})[:5]) or "nothing"
        raise InputError(
            f"{what} has no readable file (found: {there}); known extensions: {', '.join(EXTENSIONS)}", file=text
        )
    return [_file(path) for path in readable]


def _file(path: str) -> Source:
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise InputError("no such file or folder; check the path", file=path) from error
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise InputError("no permission to look at it; grant access or leave it out", file=path) from error
        raise InputError(f"cannot be looked at: {error.strerror}", file=path) from error
    source = _named(path, status.st_size, status.st_mtime_ns)
    if not os.access(path, os.R_OK):
        raise InputError("no permission to read it; grant read access or leave it out", file=path)
    return source


def _named(uri: str, size: int, modified_ns: int | None = None) -> Source:
    kind = known(address_of(uri)[0] if "://" in uri else uri)
    if kind is None:
        raise InputError(f"unknown extension; known ones are {', '.join(EXTENSIONS)}. Rename or convert it", file=uri)
    if size == 0:
        raise InputError("the file is empty (0 bytes); write it again or leave it out", file=uri)
    return Source(uri=uri, format=kind[0], compression=kind[1], size_bytes=size, modified_ns=modified_ns)


def _remote(text: str) -> list[Source]:
    address, connection = address_of(text)
    scheme, _, rest = address.partition("://")
    if "://" in rest or "::" in address:
        raise InputError("chained addresses are refused; give one plain URL", file=text)
    if scheme in ("http", "https", "file"):
        raise InputError(f"{scheme}:// is not read; give a path or an object-store URL such as s3://", file=text)
    fixed = re.split(r"[*?\[]", rest, maxsplit=1)[0]
    prefix = posixpath.dirname(fixed) if _is_glob(rest) else rest.rstrip("/")
    try:
        if not _is_glob(rest) and known(rest):
            store = Store.open(f"{scheme}://{posixpath.dirname(rest)}{connection}")
            info = store.filesystem.get_file_info(store.path(posixpath.basename(rest)))
            if info.type != pafs.FileType.File:
                raise InputError("no such object; check the address", file=text)
            return [_named(text, int(info.size))]
        store = Store.open(f"{scheme}://{prefix}{connection}")
        listed = [(f"{scheme}://{prefix}/{name}", name) for name in store.list()]
        sized = [(uri, store.size(name)) for uri, name in listed if known(uri) and not _hidden(name)]
    except OSError as error:
        raise TransportError(f"cannot list {text}: {error}; check the address and the credentials") from error
    if _is_glob(rest):
        pattern = _glob_pattern(address)
        sized = [(uri, size) for uri, size in sized if pattern.fullmatch(uri)]
    if not sized:
        raise InputError(f"nothing readable there; known extensions: {', '.join(EXTENSIONS)}", file=text)
    return [_named(uri + connection, size) for uri, size in sized]


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _is_glob(text: str) -> bool:
    return any(mark in text for mark in "*?[")


def _glob_pattern(text: str) -> re.Pattern[str]:
    """A shell pattern as an expression in which `*` stays within a folder and `**/` crosses folders."""
    scheme, _, rest = text.partition("://")
    parts = ["(?:[^/]+/)*" if part == "**" else fnmatch.translate(part)[4:-3] for part in rest.split("/")]
    joined = "/".join(parts).replace("(?:[^/]+/)*/", "(?:[^/]+/)*").replace(".*", "[^/]*")
    return re.compile(f"{re.escape(scheme)}://(?s:{joined})")
