"""Bytes on their way: a file measured and sent part by part, a streamed answer read like a file.

Knows files and iterators of bytes; nothing of HTTP or of what the bytes mean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from curator.errors import InputError

__all__ = ["PieceReader", "measured", "piece"]

_CHUNK: Final = 2**20


class PieceReader:
    """The bytes of a streamed answer as a file."""

    def __init__(self, pieces: Iterator[bytes]):
        self._pieces, self._held, self.closed = pieces, b"", False

    def read(self, size: int = -1) -> bytes:
        parts, have = [self._held], len(self._held)
        while size < 0 or have < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            parts.append(piece)
            have += len(piece)
        whole = b"".join(parts)
        cut = len(whole) if size < 0 else size
        self._held = whole[cut:]
        return whole[:cut]

    def close(self) -> None:
        self.closed = True


def measured(file: Path) -> tuple[int, str]:
    """(bytes, SHA-256) of a file. Raises InputError for one that is missing, unreadable or empty."""
    digest, size = hashlib.sha256(), 0
    try:
        with file.open("rb") as source:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=str(file)) from error
    if not size:
        raise InputError("the file is empty (0 bytes)", file=str(file))
    return size, digest.hexdigest()


def piece(file: Path, start: int, size: int) -> Iterator[bytes]:
    """`size` bytes of a file from `start` on, a chunk at a time."""
    with file.open("rb") as source:
        source.seek(start)
        while size and (chunk := source.read(min(_CHUNK, size))):
            size -= len(chunk)
            yield chunk
