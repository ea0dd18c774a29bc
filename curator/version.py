"""Which version of Winnow is at work. Knows nothing else."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version

__all__ = ["software_version"]


@cache
def software_version() -> str:
    """The installed version; "unknown" in a checkout that was never installed."""
    try:
        return version("winnow-curation")
    except PackageNotFoundError:
        return "unknown"
