"""Winnow's public surface: talk to a server, read manifests, pull epochs. Everything here runs on the base install.

    from curator import Client, ShardStream

Names load on first use, so that `import curator` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curator.client.leased_stream import LeasedStream
    from curator.client.rest import Client
    from curator.client.shard_stream import ShardStream
    from curator.epochs.plan import EpochPlan
    from curator.errors import WinnowError
    from curator.shards.manifest import Manifest
    from curator.shards.reader import ShardReader

__all__ = ["Client", "EpochPlan", "LeasedStream", "Manifest", "ShardReader", "ShardStream", "WinnowError"]

_HOMES = {
    "Client": "curator.client.rest",
    "EpochPlan": "curator.epochs.plan",
    "LeasedStream": "curator.client.leased_stream",
    "Manifest": "curator.shards.manifest",
    "ShardReader": "curator.shards.reader",
    "ShardStream": "curator.client.shard_stream",
    "WinnowError": "curator.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'curator' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
