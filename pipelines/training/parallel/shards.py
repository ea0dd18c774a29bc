"""ZeRO-3: parameters, gradients and optimiser state in slices, one a rank; a block is whole only while it computes.

PyTorch's FSDP2. Knows modules and placements; nothing of rows or recipes. One rank holds everything whole, as FSDP's
would: `OneSlice`, whose checkpoints are slices all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard
from torch.nn import functional as F

from curator.storage import Store
from pipelines.training.int8_blocks import BLOCK
from pipelines.training.parallel.kinds import ShardedParallel
from pipelines.training.parallel.parts import read_slices, write_slices
from pipelines.training.parallel.reduction import mean_all, mean_scattered, mean_scattered_int8, prepare_int8, summed
from pipelines.training.parallel.spread import Traffic, Whole
from pipelines.training.precision import Placement

__all__ = ["OneSlice", "Shards"]

_UNIT: Final = 2**24
"""Below some 16 million parameters, FSDP's hooks take longer on the host than a unit's arithmetic on a GPU."""

log: Final = logging.getLogger(__name__)


class OneSlice(Whole):
    """A `Spread` over one rank: the model is whole, and what is written can be read by any number."""

    def load(self, state: dict[str, Tensor]) -> None:
        if state:
            log.warning("gradient errors of several ranks are left behind: one rank compresses nothing")

    def write(self, store: Store, step: int, tensors: dict[str, Tensor]) -> tuple[str | None, dict[str, Tensor]]:
        return write_slices(store, step, tensors), {}

    def read(self, store: Store, parts: str, tensors: dict[str, Tensor]) -> None:
        read_slices(store, parts, tensors)


class Shards(Whole):
    """A `Spread`. Under bf16, blocks are put together and computed in bf16; slices, sums of gradients and AdamW stay
    float32. The optimiser is given the slices as plain tensors: as DTensors they cost it milliseconds of Python."""

    def __init__(self, kind: ShardedParallel, placement: Placement):
        super().__init__()
        self._kind, self._placement = kind, placement
        self._mesh = init_device_mesh(placement.device.type, (dist.get_world_size(),))
        self._reductions: list[_Reduction] = []
        self._slices: dict[str, Any] = {}
        if kind.compress == "int8":
            prepare_int8(placement.device, self._mesh.size())

    def lay(self, objective: nn.Module, model: nn.Module) -> nn.Module:
        for modules in (*_units(model), [objective]):
            fully_shard(
                modules,
                mesh=self._mesh,
                mp_policy=self._precision,
                offload_policy=self._offload,
                shard_placement_fn=self._cut,
            )
            reduction = (_Blocks if self._kind.compress == "int8" else _Reduction)(self.traffic)
            first: Any = modules[0]
            first.set_custom_reduce_scatter(reduction)
            self._reductions.append(reduction)
        return objective

    def held(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Under loss scaling the DTensors themselves: GradScaler looks for overflows on all ranks by them."""
        self._slices = dict(model.named_parameters())
        if self._placement.scales_loss:
            return self._slices
        return {name: nn.Parameter(one.to_local().detach()) for name, one in self._slices.items()}

    def clip(self, held: dict[str, nn.Parameter], limit: float) -> Tensor:
        if self._placement.scales_loss:
            whole: Any = super().clip(held, limit)
            return whole.full_tensor()
        for name, one in self._slices.items():
            held[name].grad, one.grad = None if one.grad is None else one.grad.to_local(), None
        norm = nn.utils.get_total_norm([one.grad for one in held.values() if one.grad is not None], foreach=True) ** 2
        dist.all_reduce(norm, group=self._mesh.get_group())
        norm = norm.sqrt()
        nn.utils.clip_grads_with_norm_(held.values(), limit, norm, foreach=True)
        return norm

    def mean(self, share: Tensor) -> Tensor:
        dist.all_reduce(share, group=self._mesh.get_group())
        return share / self._mesh.size()

    def pooled(self, losses: Tensor) -> Tensor:
        return summed(losses.nan_to_num(nan=0.0), self._mesh.get_group())

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        return {name: tensor.full_tensor().cpu() for name, tensor in model.state_dict().items()}

    def state(self) -> dict[str, Tensor]:
        return {
            str(number): mean_all(one.error, self._mesh.get_group(), Traffic()).clone()
            for number, one in enumerate(self._reductions)
            if isinstance(one, _Blocks) and one.error is not None
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """The errors lie as the slices do: for another number of ranks they are left behind, and that is logged."""
        for name, error in state.items():
            reduction = self._reductions[int(name)]
            assert isinstance(reduction, _Blocks)
            reduction.error = error.to(self._placement.device, copy=True)

    def write(self, store: Store, step: int, tensors: dict[str, Tensor]) -> tuple[str | None, dict[str, Tensor]]:
        rest = {name: tensor for name, tensor in tensors.items() if name.startswith("spread/")}
        return write_slices(store, step, self._as_slices(tensors)), rest

    def read(self, store: Store, parts: str, tensors: dict[str, Tensor]) -> None:
        read_slices(store, parts, self._as_slices(tensors))

    def _as_slices(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The learner's, of which the moments are plain: each as a slice beside its parameter's."""
        found = {name: tensor for name, tensor in tensors.items() if not name.startswith("spread/")}
        for name, one in self._slices.items():
            for moment in ("exp_avg", "exp_avg_sq"):
                tensor = found.get(key := f"optimiser/{name}/{moment}")
                if tensor is not None and not isinstance(tensor, DTensor):
                    found[key] = DTensor.from_local(
                        tensor, self._mesh, one.placements, run_check=False, shape=one.shape, stride=one.stride()
                    )
        return found

    def _cut(self, parameter: nn.Parameter) -> Shard:
        """Along the first dimension that the ranks divide, so that all hold the same; else the first, unevenly."""
        even = [place for place, size in enumerate(parameter.shape) if size % self._mesh.size() == 0]
        return Shard(even[0] if even else 0)

    @property
    def _precision(self) -> MixedPrecisionPolicy:
        half = torch.bfloat16 if self._placement.precision == "bf16" else None
        return MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32, cast_forward_inputs=False)

    @property
    def _offload(self) -> OffloadPolicy:
        away = self._kind.offload and self._placement.device.type != "cpu"
        return CPUOffloadPolicy() if away else OffloadPolicy()


def _units(model: nn.Module) -> list[list[nn.Module]]:
    """Blocks that are put together at a time: one, or as many as make up `_UNIT` parameters."""
    blocks = model.blocks
    assert isinstance(blocks, nn.ModuleList)
    units: list[list[nn.Module]] = []
    size = _UNIT
    for block in blocks:
        if size >= _UNIT:
            units.append([])
            size = 0
        units[-1].append(block)
        size += sum(parameter.numel() for parameter in block.parameters())
    return units


class _Reduction:
    """The mean of gradients, a slice for each rank: PyTorch's `ReduceScatter`, with its bytes counted."""

    def __init__(self, traffic: Traffic):
        self._traffic = traffic

    def allocate(self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: dist.ProcessGroup,
        op: Any,
        async_op: bool = False,
    ) -> None:
        assert op == dist.ReduceOp.AVG, "gradients are reduced in float32, where FSDP asks for their mean"
        mean_scattered(output_tensor, input_tensor, group, self._traffic)


class _Blocks(_Reduction):
    """The same in int8 blocks with error feedback."""

    error: Tensor | None = None

    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: dist.ProcessGroup,
        op: Any,
        async_op: bool = False,
    ) -> None:
        assert op == dist.ReduceOp.AVG, "gradients are reduced in float32, where FSDP asks for their mean"
        size = len(output_tensor)
        rows = F.pad(input_tensor.view(group.size(), size), (0, -size % BLOCK)).flatten()
        if self.error is not None and len(self.error) != len(rows):
            log.warning(
                "gradient errors of %d numbers do not fit slices of %d: left behind", len(self.error), len(rows)
            )
            self.error = None
        mean_C, self.error = mean_scattered_int8(rows, self.error, group, self._traffic)
        output_tensor.copy_(mean_C[:size])
