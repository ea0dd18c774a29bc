"""PowerSGD as a compression of gradients: PyTorch's hook, counted, and with a state that a checkpoint can hold.

Knows buckets and ranks; nothing of models or recipes.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
from torch.futures import Future

from pipelines.training.parallel.reduction import mean_all
from pipelines.training.parallel.spread import Traffic

__all__ = ["LowRank"]

_FLOAT_BYTES = 4


class LowRank:
    """Vogels et al. 2019 (arXiv 1905.13727), algorithms 1 and 2: matrices as products of two thin ones, errors carried
    on, bases warm from step to step; vectors travel whole."""

    def __init__(self, rank: int, group: dist.ProcessGroup, device: torch.device, traffic: Traffic):
        self._group, self._device, self._traffic = group, device, traffic
        self._state = PowerSGDState(group, matrix_approximation_rank=rank, start_powerSGD_iter=2)

    def __call__(self, bucket: dist.GradBucket) -> Future[Tensor]:
        before, shared = self._state.total_numel_after_compression, (self._group.size() - 1) / self._group.size()
        whole = self._state.iter < self._state.start_powerSGD_iter
        future = powerSGD_hook(self._state, bucket)
        numbers = len(bucket.buffer()) if whole else self._state.total_numel_after_compression - before
        self._traffic.bytes_sent += round(2 * shared * numbers * _FLOAT_BYTES)
        return future

    def state(self) -> dict[str, Tensor]:
        """Pools the errors of the ranks; the bases are the same on all of them."""
        memories = self._memories()
        for error in self._state.error_dict.values():
            mean_all(error, self._group, Traffic())
        found = {f"{kind}/{index}": tensor.clone() for kind in memories for index, tensor in memories[kind].items()}
        return {"iter": torch.tensor(self._state.iter), **found}

    def load(self, state: dict[str, Tensor]) -> None:
        memories, self._state.iter = self._memories(), int(state["iter"])
        for name, tensor in state.items():
            kind, _, index = name.partition("/")
            if kind in memories:
                memories[kind][int(index)] = tensor.to(self._device, copy=True)

    def _memories(self) -> dict[str, dict[int, Tensor]]:
        state = self._state
        return {"error": state.error_dict, "left": state.p_memory_dict, "right": state.q_memory_dict}
