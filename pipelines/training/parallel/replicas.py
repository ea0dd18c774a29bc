"""Data parallelism: every rank holds the whole model, gradients are averaged on their way, compressed or not.

PyTorch's DistributedDataParallel with communication hooks. Knows modules and gradients; nothing of rows or recipes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from pipelines.training.parallel.kinds import DataParallel
from pipelines.training.parallel.low_rank import LowRank
from pipelines.training.parallel.reduction import all_gather, chunk_size, mean_all, mean_all_int8, prepare_int8, summed
from pipelines.training.parallel.spread import Traffic, Whole

__all__ = ["Replicas"]


class Compression(Protocol):
    """A way for one bucket of gradients to become its mean over the ranks."""

    def __call__(self, bucket: dist.GradBucket) -> Future[Tensor]: ...

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint, the same on every rank; pools what differs between them."""
        ...

    def load(self, state: dict[str, Tensor]) -> None: ...


class Replicas(Whole):
    """A `Spread`.

    DDP lays its buckets anew after the first backward of a process. That one is therefore done twice: otherwise a
    resumed job would sum its first step in another order than the job it goes on from.
    """

    def __init__(self, kind: DataParallel, device: torch.device):
        super().__init__()
        group = dist.group.WORLD
        assert group is not None, "ranks that step together have a process group"
        self._group = group
        self._compression = _compression(kind, group, device, self.traffic)
        self._wrapped: DistributedDataParallel | None = None
        self._rehearsed = False

    def lay(self, objective: nn.Module, model: nn.Module) -> nn.Module:
        self._wrapped = DistributedDataParallel(objective, gradient_as_bucket_view=True)
        return self._wrapped

    def rehearse(self, backward: Callable[[], object]) -> None:
        assert self._wrapped is not None
        if not self._rehearsed:
            self._rehearsed = True
            backward()
            self._wrapped.register_comm_hook(self._compression, lambda compression, bucket: compression(bucket))

    def mean(self, share: Tensor) -> Tensor:
        dist.all_reduce(share, group=self._group)
        return share / self._group.size()

    def pooled(self, losses: Tensor) -> Tensor:
        return summed(losses.nan_to_num(nan=0.0), self._group)

    def state(self) -> dict[str, Tensor]:
        return self._compression.state()

    def load(self, state: dict[str, Tensor]) -> None:
        self._compression.load(state)


def _compression(kind: DataParallel, group: dist.ProcessGroup, device: torch.device, traffic: Traffic) -> Compression:
    if kind.compress == "powersgd":
        return LowRank(kind.powersgd_rank, group, device, traffic)
    made: dict[str, Callable[..., Compression]] = {"none": Plain, "bf16": Halved, "int8": Blocks}
    return made[kind.compress](group, device, traffic)


class Plain:
    """float32, as it is."""

    def __init__(self, group: dist.ProcessGroup, device: torch.device, traffic: Traffic):
        self._group, self._traffic, self._aside = group, traffic, Aside(device)

    def __call__(self, bucket: dist.GradBucket) -> Future[Tensor]:
        return self._aside.run(lambda: mean_all(bucket.buffer(), self._group, self._traffic))

    def state(self) -> dict[str, Tensor]:
        return {}

    def load(self, state: dict[str, Tensor]) -> None:
        pass


class Halved(Plain):
    """bfloat16."""

    def __call__(self, bucket: dist.GradBucket) -> Future[Tensor]:
        gradient = bucket.buffer()
        return self._aside.run(
            lambda: gradient.copy_(mean_all(gradient.to(torch.bfloat16), self._group, self._traffic))
        )


class Blocks(Plain):
    """int8 in blocks, errors carried on: those of the gradient here, and those of the mean of this rank's chunk."""

    def __init__(self, group: dist.ProcessGroup, device: torch.device, traffic: Traffic):
        super().__init__(group, device, traffic)
        prepare_int8(device, group.size())
        self._errors: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, bucket: dist.GradBucket) -> Future[Tensor]:
        return self._aside.run(lambda: self._mean(bucket.index(), bucket.buffer()))

    def _mean(self, index: int, gradient: Tensor) -> Tensor:
        mean, self._errors[index] = mean_all_int8(gradient, self._errors.get(index), self._group, self._traffic)
        return gradient.copy_(mean)

    def state(self) -> dict[str, Tensor]:
        """The mean over ranks of the first errors, which every rank then goes on with (the mean gradient owes their
        mean, whoever carries it); the second ones put together. Neither depends on the number of ranks."""
        found: dict[str, Tensor] = {}
        for index, (first, second) in sorted(self._errors.items()):
            mean_all(first, self._group, Traffic())
            whole = torch.empty(self._group.size() * len(second), device=second.device)
            all_gather(whole, second, group=self._group)
            found |= {f"{index}/first": first.clone(), f"{index}/second": whole[: len(first)].clone()}
        return found

    def load(self, state: dict[str, Tensor]) -> None:
        device = self._aside.device
        for index in {int(name.split("/")[0]) for name in state}:
            first, whole = (state[f"{index}/{stage}"].to(device) for stage in ("first", "second"))
            chunk, begin = chunk_size(len(first), self._group.size()), self._group.rank()
            second = torch.zeros(chunk, device=device)
            part = whole[begin * chunk : (begin + 1) * chunk]
            second[: len(part)] = part
            self._errors[index] = (first.clone(), second)


class Aside:
    """Runs a reduction beside the backward pass: on CUDA in a stream of its own, on the CPU at once."""

    def __init__(self, device: torch.device):
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def run(self, reduce: Callable[[], Tensor]) -> Future[Tensor]:
        if self._stream is None:
            done: Future[Tensor] = Future()
            done.set_result(reduce())
            return done
        pending: Future[Any] = Future(devices=[torch.device("cuda", torch.cuda.current_device())])
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            pending.set_result(reduce())
        return pending
