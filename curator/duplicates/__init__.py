"""Duplicates: exact ones by hash of content or address, near ones by MinHash; an index that finds pairs, and clusters.

The picture: content_hash, minhash (a unit at a time) -> DuplicateIndex -> Edges -> clusters. What counts loads numba
when first asked for; the operators do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from curator.duplicates.operators import (
    SIMILARITY_FLOOR,
    By,
    ExactDuplicates,
    NearDuplicates,
    SemanticDuplicates,
    UrlDuplicates,
)

if TYPE_CHECKING:
    from curator.duplicates.addresses import canonical_urls
    from curator.duplicates.clustering import clusters
    from curator.duplicates.content import content_hash
    from curator.duplicates.edges import Edges
    from curator.duplicates.index import DuplicateIndex, Shape
    from curator.duplicates.meaning import MeaningShape, VectorIndex, clusters_for
    from curator.duplicates.signatures import band_hashes, minhash

__all__ = [
    "SIMILARITY_FLOOR",
    "By",
    "DuplicateIndex",
    "Edges",
    "ExactDuplicates",
    "MeaningShape",
    "NearDuplicates",
    "SemanticDuplicates",
    "Shape",
    "UrlDuplicates",
    "VectorIndex",
    "band_hashes",
    "canonical_urls",
    "clusters",
    "clusters_for",
    "content_hash",
    "minhash",
]

_HOMES = {
    "DuplicateIndex": "index",
    "Edges": "edges",
    "MeaningShape": "meaning",
    "Shape": "index",
    "VectorIndex": "meaning",
    "band_hashes": "signatures",
    "canonical_urls": "addresses",
    "clusters": "clustering",
    "clusters_for": "meaning",
    "content_hash": "content",
    "minhash": "signatures",
}


def __getattr__(name: str) -> Any:
    """Loads the numba-backed half on first use, so that reading a recipe stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"curator.duplicates.{_HOMES[name]}"), name)
