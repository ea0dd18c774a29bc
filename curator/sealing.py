"""What the catalog keeps but whoever reads it must not know: sealed with a key that is not in the catalog.

The key is 32 random bytes in `<root>/server.key` (mode 600), or in the file `WINNOW_SECRET_KEY_FILE` names, which every
server and runner of one catalog shares. A backup of the whole root holds both; who wants them apart names a file
elsewhere. Each secret is hidden by a pad of its own, HMAC-SHA256 of its name under the key, and followed by a check of
16 bytes, so that another key than the one it was sealed with does not open it. Knows nothing of what is sealed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from typing import Final

from curator.errors import IntegrityError, RequestError
from curator.settings import Settings

__all__ = ["Seal"]

_SEALED: Final = "sealed:"
_BYTES: Final = 32
_CHECK_BYTES: Final = 16


class Seal:
    """Hides and shows secrets of at most 32 bytes, spelt in base64 after a prefix (`whsec_…`)."""

    def __init__(self, key: bytes):
        self._key = key

    @classmethod
    def of(cls, settings: Settings) -> Seal:
        """The seal of a root, its key made when there is none. Raises RequestError for a key that others can read or
        that is none, and for an object store's root without a setting that names one."""
        path = settings.secret_key_file
        if path is None:
            if "://" in settings.root:
                raise RequestError(
                    f"the root {settings.root} cannot hold a key nobody else reads; set WINNOW_SECRET_KEY_FILE to a "
                    "file (mode 600) that the server and every runner share"
                )
            path = os.path.join(settings.root, "server.key")
        return cls(_key_in(path))

    def close(self, name: str, secret: str) -> str:
        """The secret as the catalog keeps it."""
        prefix, _, spelt = secret.rpartition("_")
        hidden = self._masked(name, base64.b64decode(spelt))
        return f"{_SEALED}{prefix}_{base64.b64encode(hidden + self._check(name, hidden)).decode()}"

    def open(self, name: str, kept: str) -> str:
        """The secret again. Raises IntegrityError for one that was sealed with another key or under another name."""
        prefix, _, spelt = kept.removeprefix(_SEALED).rpartition("_")
        sealed = base64.b64decode(spelt)
        hidden, check = sealed[:-_CHECK_BYTES], sealed[-_CHECK_BYTES:]
        if not hmac.compare_digest(check, self._check(name, hidden)):
            raise IntegrityError(
                f"the secret of {name} was sealed with another key than this server's, and nothing is signed with it; "
                "put back the server.key (or WINNOW_SECRET_KEY_FILE) it was made with, or make it anew"
            )
        return f"{prefix}_{base64.b64encode(self._masked(name, hidden)).decode()}"

    @staticmethod
    def is_closed(kept: str) -> bool:
        return kept.startswith(_SEALED)

    def _check(self, name: str, hidden: bytes) -> bytes:
        """No pad: those are of names alone, which hold no zero byte."""
        return hmac.digest(self._key, name.encode() + b"\0" + hidden, hashlib.sha256)[:_CHECK_BYTES]

    def _masked(self, name: str, data: bytes) -> bytes:
        pad = hmac.digest(self._key, name.encode(), hashlib.sha256)
        if len(data) > len(pad):
            raise ValueError(f"a secret of {len(data)} bytes is too long for a pad of {len(pad)}")
        return bytes(mine ^ theirs for mine, theirs in zip(data, pad, strict=False))


def _key_in(path: str) -> bytes:
    if not os.path.exists(path):
        _make(path)
    if os.stat(path).st_mode & 0o077:
        raise RequestError(f"others may read the key {path}; chmod 600 it, or remove it to have another made")
    with open(path, "rb") as file:
        key = file.read()
    if len(key) != _BYTES:
        raise RequestError(f"the key {path} has {len(key)} bytes, not {_BYTES}; put the right one back")
    return key


def _make(path: str) -> None:
    """Whole or not at all, and once, whoever else does it at the same time."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    draft = f"{path}.{os.getpid()}.{secrets.token_hex(4)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        os.remove(draft)
