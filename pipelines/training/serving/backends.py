"""What computes scores: a CPU, through PyTorch or an exported graph, or a GPU, through one CUDA graph for each shape.

Knows models and filled buckets; nothing of requests or of who is asked.
"""

from __future__ import annotations

import copy
import queue
import threading
from typing import Any, Protocol

import torch
from torch import Tensor

from pipelines.training.compress.scoring import Run, run_of
from pipelines.training.kernels import for_process
from pipelines.training.model import Model

__all__ = ["Backend", "OnCpu", "OnGpu"]


class Backend(Protocol):
    name: str
    workers: int
    """calls that it serves at a time"""

    def scores(self, inputs: Tensor, keys_BT: Tensor | None) -> Tensor:
        """float32[B, C] on the CPU, of a whole bucket on the CPU."""
        ...


class OnCpu:
    """A model of the training package (`run_of`), or an export (`export.loaded`, which takes ONNX through
    onnxruntime)."""

    workers = 1

    def __init__(self, run: Run, name: str = "cpu"):
        self.name, self._run = name, run

    def scores(self, inputs: Tensor, keys_BT: Tensor | None) -> Tensor:
        with torch.no_grad():
            return self._run(inputs, keys_BT).float()


class OnGpu:
    """The model in float16 (of a text classifier the weights too, but for the last layer). A shape's copies in,
    kernels and copy out are one CUDA graph, captured at its first call; each is there `workers` times, with streams of
    their own, so that one call's copies run beside another's kernels."""

    def __init__(self, model: Model, *, compiled: bool = False, workers: int = 2, name: str = "gpu"):
        """`compiled`: each shape by torch.compile, which takes up to a minute at its first call."""
        for_process()
        self.name, self.workers = name, workers
        own: Any = copy.deepcopy(model).eval().requires_grad_(False).cuda()
        if hasattr(own, "embedding"):
            own.half().head.float()
        self._run = run_of(torch.compile(own, dynamic=False) if compiled else own)
        self._made = threading.Lock()
        self._free: dict[tuple[torch.Size, bool], queue.Queue[_Graph]] = {}

    def scores(self, inputs: Tensor, keys_BT: Tensor | None) -> Tensor:
        shape = (inputs.shape, keys_BT is not None)
        with self._made:
            if shape not in self._free:
                self._free[shape] = queue.Queue()
                for _ in range(self.workers):
                    self._free[shape].put(_Graph(self._run, inputs, keys_BT))
        graph = self._free[shape].get()
        try:
            return graph(inputs, keys_BT)
        finally:
            self._free[shape].put(graph)


class _Graph:
    """One shape, captured. Calls come one at a time."""

    def __init__(self, run: Run, inputs: Tensor, keys_BT: Tensor | None):
        self._stream, self._graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        self._host = [_pinned(tensor) for tensor in (inputs, keys_BT) if tensor is not None]
        for host, tensor in zip(self._host, (inputs, keys_BT), strict=False):
            assert tensor is not None
            host.copy_(tensor)
        there = [torch.empty_like(host, device="cuda") for host in self._host]
        out: Tensor | None = None
        with torch.no_grad(), torch.autocast("cuda", torch.float16):
            with torch.cuda.stream(self._stream):
                for _ in range(3):
                    found = self._computed(run, there)
                    out = _pinned(found) if out is None else out
            self._stream.synchronize()
            assert out is not None
            with torch.cuda.graph(self._graph, stream=self._stream):
                out.copy_(self._computed(run, there), non_blocking=True)
        self._out, self._there = out, there

    def __call__(self, inputs: Tensor, keys_BT: Tensor | None) -> Tensor:
        self._host[0].copy_(inputs)
        if keys_BT is not None:
            self._host[1].copy_(keys_BT)
        with torch.cuda.stream(self._stream):
            self._graph.replay()
        self._stream.synchronize()
        return self._out.clone()

    def _computed(self, run: Run, there: list[Tensor]) -> Tensor:
        for host, device in zip(self._host, there, strict=True):
            device.copy_(host, non_blocking=True)
        return run(there[0], there[1] if len(there) > 1 else None).float()


def _pinned(like: Tensor) -> Tensor:
    return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)
