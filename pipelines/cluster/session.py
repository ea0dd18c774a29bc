"""One Ray session a process: joined by address, or started on this machine with its dashboard off.

It stays for the life of the process: starting Ray takes longer than most runs.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import ray

from pipelines.cluster.token import check_address

__all__ = ["connect"]


def connect(address: str | None) -> None:
    """Joins the Ray at `address`, or starts one here; nothing if this process is connected. Raises RequestError."""
    if ray.is_initialized():
        return
    if address is not None:
        check_address(address, os.environ)
    _let_workers_import_us()
    ray.init(
        address=address or "local",  # never a cluster that happens to run on this machine
        include_dashboard=False if address is None else None,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
    )


def _let_workers_import_us() -> None:
    """Workers of a Ray started here find these packages even when they are run from a checkout."""
    home = str(Path(__file__).parents[2])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if home not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([home, *filter(None, paths)])
