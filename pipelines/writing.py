"""What a runner writes besides runs and training jobs: exports, and rewrites of shards.

Knows which there are; each says for itself what it does.
"""

from __future__ import annotations

import threading

from curator.catalog import Catalog
from curator.settings import Settings
from pipelines.exporting import export_once
from pipelines.rewriting import rewrite_once

__all__ = ["write_once"]


def write_once(catalog: Catalog, settings: Settings, owner: str, shutdown: threading.Event) -> bool:
    """One export, or one rewrite, if there is one. False: nothing to do."""
    return export_once(catalog, settings, owner, shutdown) or rewrite_once(catalog, settings, owner, shutdown)
