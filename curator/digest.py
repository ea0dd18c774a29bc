"""Content digests: what makes equal content have an equal name.

Knows nothing of files or of what is being named.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

__all__ = ["canonical_json", "content_id", "sha256_hex"]


def canonical_json(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, UTF-8, no NaN. Raises ValueError on NaN or infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256_hex(data: bytes | memoryview) -> str:
    """SHA-256 of the bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def content_id(prefix: str, value: Any) -> str:
    """`prefix_` + the first 32 hex digits (128 bits) of the SHA-256 of the value's canonical JSON."""
    return f"{prefix}_{sha256_hex(canonical_json(value))[:32]}"
