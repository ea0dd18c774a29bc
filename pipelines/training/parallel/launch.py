"""Which of a launcher's processes this is, by the environment that torchrun and its like set.

Loads no torch: the command line asks too.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from curator.errors import RequestError

__all__ = ["Launch", "launch", "meeting_place"]


class Launch(NamedTuple):
    rank: int
    world_size: int
    local_rank: int
    """among the processes of this machine"""


def launch() -> Launch:
    """RANK of WORLD_SIZE; 0 of 1 where nobody launched. Raises RequestError for an environment that makes no sense."""
    world_size = _number("WORLD_SIZE", 1)
    rank = _number("RANK", 0)
    if world_size < 1 or not 0 <= rank < world_size:
        raise RequestError(
            f"RANK is {rank} and WORLD_SIZE {world_size}: a rank lies in 0 to {world_size - 1}. Start the job with "
            "torchrun, or set both."
        )
    if world_size > 1 and not os.environ.get("RANK"):
        raise RequestError(f"WORLD_SIZE is {world_size} and RANK is not set: set it, or start the job with torchrun")
    return Launch(rank, world_size, _number("LOCAL_RANK", 0))


def meeting_place() -> tuple[str, int]:
    """(host, port) at which ranks find each other. Raises RequestError when nobody says."""
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise RequestError(
            f"{missing[0]} is not set: ranks cannot find each other. Start them with torchrun, or set MASTER_ADDR and "
            "MASTER_PORT to where rank 0 listens."
        )
    return os.environ["MASTER_ADDR"], _number("MASTER_PORT", 0)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    try:
        return int(text) if text else default
    except ValueError as error:
        raise RequestError(f"{name} is {text!r}, not a number; unset it, or start the job with torchrun") from error
