"""A file on its way into a cache: hashed while it is written, synced while others come.

Knows bytes and one temporary file; nothing of where they come from or of what they mean.
"""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, Final

__all__ = ["Arriving"]

PIECE_BYTES: Final = 2**20
"""Hashed at once, by a thread: hashing lets go of the interpreter."""
MAX_PIECES: Final = 16
"""That wait to be hashed; then writing waits too."""


class Arriving:
    """What a fetch writes to, from the start to the end; `restart` when it has to begin again."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._hasher = ThreadPoolExecutor(1, "winnow-hash")
        self.restart()

    def write(self, piece: Any) -> None:
        """Appends bytes."""
        self._file.write(piece)
        self._size += len(piece)
        self._pieces.append(bytes(piece))
        self._waiting += len(piece)
        if self._waiting >= PIECE_BYTES:
            self._hand_over()

    def tell(self) -> int:
        """Bytes written so far."""
        return self._size

    def restart(self) -> None:
        """Forgets what was written."""
        self._file.seek(0)
        self._file.truncate()
        self._size = self._waiting = 0
        self._pieces: list[bytes] = []
        self._digest = hashlib.sha256()  # pieces of before are still hashed, into another
        self._hashed: deque[Future[None]] = deque()

    def digest(self) -> str:
        """The SHA-256 of what was written, in hex; nothing is written after it."""
        self._hand_over()
        self._file.flush()
        self._hasher.shutdown(wait=True)
        return self._digest.hexdigest()

    def close(self) -> None:
        self._hasher.shutdown(wait=True)
        self._file.close()

    def _hand_over(self) -> None:
        self._hashed.append(self._hasher.submit(self._digest.update, b"".join(self._pieces)))
        self._pieces, self._waiting = [], 0
        if len(self._hashed) > MAX_PIECES:
            self._hashed.popleft().result()
