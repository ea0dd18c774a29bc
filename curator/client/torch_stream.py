"""The torch form of a ShardStream: an `IterableDataset` that divides batches among DataLoader workers.

The one file of `curator` that imports torch; loaded only where torch already is. Knows nothing of rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from curator.client.shard_stream import ShardStream, Worker

__all__ = ["TorchShardStream"]


class TorchShardStream(ShardStream, IterableDataset):
    """What `ShardStream(...)` makes where torch is loaded; for `DataLoader(stream, batch_size=None, num_workers=k)`.

    Worker w of k reads global batches w, w + k, …; the DataLoader takes them in turn, so the order is that of k = 0.
    The cursor lies in shared memory: `set_epoch` reaches persistent workers. Those also keep what they decoded.
    """

    def _worker(self) -> Worker:
        info = get_worker_info()
        return Worker(0, 1, sends=False) if info is None else Worker(info.id, info.num_workers, sends=True)

    def _new_cursor(self) -> Any:
        return torch.zeros(4, dtype=torch.int64).share_memory_()
