"""A file on its way into a cache, hashed while it is written.

Knows bytes and one file; nothing of where they come from or of what they mean.
"""

from __future__ import annotations

import hashlib
from typing import Any, BinaryIO

__all__ = ["Arriving"]


class Arriving:
    """What a fetch writes to, from the start to the end; `restart` when it has to begin again."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.restart()

    def write(self, piece: Any) -> None:
        """Appends bytes."""
        self._file.write(piece)
        self._digest.update(piece)
        self._size += len(piece)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._size

    def restart(self) -> None:
        """Forgets what was written."""
        self._file.seek(0)
        self._file.truncate()
        self._size, self._digest = 0, hashlib.sha256()

    def digest(self) -> str:
        """The SHA-256 of what was written, in hex."""
        self._file.flush()
        return self._digest.hexdigest()
