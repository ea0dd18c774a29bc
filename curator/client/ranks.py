"""Which rank of how many this process is: given, or found where launchers and torch.distributed leave it.

Knows the environment; nothing of plans.
"""

from __future__ import annotations

import os
import sys

from curator.errors import RequestError

__all__ = ["detected"]


def detected(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """The rank and world size given, or torch.distributed's, or the launcher's, or 0 of 1."""
    if (rank is None) != (world_size is None):
        raise RequestError(f"rank {rank} and world_size {world_size}: give both or neither")
    if rank is not None and world_size is not None:
        return rank, world_size
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return 0, 1
