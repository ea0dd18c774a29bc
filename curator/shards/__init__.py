"""Shards: immutable, content-addressed files of rows, and the manifests that say which rows make a dataset."""

from curator.shards.index import Overlay, ShardIndex, write_index
from curator.shards.manifest import Manifest, ShardInfo
from curator.shards.override import Override, override
from curator.shards.reader import ShardReader
from curator.shards.source import ShardSource, StoreSource
from curator.shards.writer import ShardWriter

__all__ = [
    "Manifest",
    "Overlay",
    "Override",
    "ShardIndex",
    "ShardInfo",
    "ShardReader",
    "ShardSource",
    "ShardWriter",
    "StoreSource",
    "override",
    "write_index",
]
