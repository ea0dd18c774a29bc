"""Bytes of an input: opened, digested, unpacked under caps.

Knows nothing of what the bytes mean. Local files are read, never memory-mapped: a file cut short under a map would
end the process, under a read it is an error.
"""

from __future__ import annotations

import io
import os
import posixpath
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa

from curator.errors import InputError, TransportError
from curator.readers.limits import Limits
from curator.readers.unit import Source
from curator.storage import Store

__all__ = ["CappedStream", "address_of", "content_digest", "damaged", "open_file", "open_text", "same_file"]

CHUNK_BYTES: Final = 1 << 22
TAIL_BYTES: Final = 256
_CONNECTION: Final = re.compile(r"\?\w+=[^/?]*$")


@contextmanager
def open_file(uri: str) -> Iterator[Any]:
    """A seekable `pyarrow.NativeFile` over a local path or an object-store URL.

    Raises InputError if it is missing or forbidden, TransportError if the store does not answer.
    """
    try:
        if "://" in uri:
            address, connection = address_of(uri)
            store = Store.open(posixpath.dirname(address) + connection)
            handle = store.filesystem.open_input_file(store.path(posixpath.basename(address)))
        else:
            handle = pa.OSFile(uri, "rb")
    except FileNotFoundError as error:
        raise InputError("the file is gone; it was there when the inputs were listed", file=uri) from error
    except PermissionError as error:
        raise InputError("no permission to read it; grant read access or leave it out", file=uri) from error
    except OSError as error:
        if "://" in uri:
            raise TransportError(f"cannot open {uri}: {error}; check the address and the credentials") from error
        raise InputError(f"cannot be opened: {error}", file=uri) from error
    with handle:
        yield handle


def address_of(uri: str) -> tuple[str, str]:
    """An object-store URL without and with only its connection settings: ("s3://b/k.csv", "?region=x&scheme=http")."""
    settings = _CONNECTION.search(uri)
    return (uri[: settings.start()], settings.group()) if settings else (uri, "")


def content_digest(source: Source) -> str:
    """xxh3-128 of the file's bytes as stored, 32 hex digits; streamed, 4 MiB at a time."""
    import xxhash  # here, so that the base install, which has no xxhash, can look at formats and discover

    digest = xxhash.xxh3_128()
    with open_file(source.uri) as handle:
        for chunk in _chunks(handle):
            digest.update(chunk)
    return digest.hexdigest()


def same_file(source: Source, digest: str) -> None:
    """Raises InputError if the file is no longer the one that was listed, whose bytes had this digest.

    Costs a look at its size and time; a local file that was written to since is digested again, once a process: it may
    have been copied back or only touched.
    """
    with open_file(source.uri) as handle:
        size = handle.size()
    if size != source.size_bytes:
        raise _changed(f"{size} bytes long, but {source.size_bytes} when the run was planned", source)
    if source.modified_ns is not None:
        now_ns = os.stat(source.uri).st_mtime_ns
        if now_ns != source.modified_ns and _digest_at(source, now_ns) != digest:
            raise _changed("not the bytes it held when the run was planned, though as many", source)


@lru_cache(maxsize=256)
def _digest_at(source: Source, modified_ns: int) -> str:
    return content_digest(source)


def _changed(what: str, source: Source) -> InputError:
    return InputError(
        f"{what}: the file was changed in between, and its rows no longer have the ids they were given; start a "
        "new run",
        file=source.uri,
    )


def damaged(source: Source, error: BaseException, *, where: str = "", row: int | None = None) -> InputError:
    """The error for bytes that are not the format the file's name promises."""
    place = f"{where} " if where else ""
    return InputError(
        f"{place}cannot be read as {source.format}: {error}. The file is cut short, damaged or of another format; "
        "copy or write it again, or leave it out",
        file=source.uri,
        row=row,
    )


@contextmanager
def open_text(source: Source, limits: Limits) -> Iterator[CappedStream]:
    """The unpacked bytes of a text file, in order, under the caps on what it may unfold to."""
    with open_file(source.uri) as handle:
        raw = handle if source.compression == "none" else _decompressor(handle, source)
        stream = CappedStream(raw, source, limits)
        try:
            yield stream
        finally:
            stream.close()


def _decompressor(handle: Any, source: Source) -> Any:
    return pa.CompressedInputStream(handle, source.compression)


class CappedStream(io.RawIOBase):
    """A forward-only byte stream that counts what it gives, remembers its last bytes and stops a decompression bomb."""

    def __init__(self, raw: Any, source: Source, limits: Limits):
        super().__init__()
        self._raw, self._source, self.given_bytes = raw, source, 0
        self.tail = b""
        by_ratio = max(source.size_bytes * limits.expansion, limits.expansion_free_bytes)
        self._cap = None if source.compression == "none" else min(by_ratio, limits.uncompressed_bytes)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, empty at the end. Raises InputError on damage or past the cap."""
        try:
            # not .read(): pyarrow keeps the memory it had set aside for bytes when reading them fails
            chunk: bytes = self._raw.read_buffer(CHUNK_BYTES if size < 0 else size).to_pybytes()
        except (OSError, pa.ArrowInvalid) as error:
            raise damaged(self._source, error, where=f"after {self.given_bytes} unpacked bytes it") from error
        self.given_bytes += len(chunk)
        self.tail = (self.tail + chunk[-TAIL_BYTES:])[-TAIL_BYTES:]
        if self._cap is not None and self.given_bytes > self._cap:
            raise InputError(
                f"unpacks to more than {self._cap} bytes from {self._source.size_bytes}: refused as a decompression "
                "bomb; unpack it yourself if the size is meant",
                file=self._source.uri,
            )
        return chunk


def _chunks(handle: Any) -> Iterator[bytes]:
    read: Callable[[int], bytes] = handle.read
    while chunk := read(CHUNK_BYTES):
        yield chunk
