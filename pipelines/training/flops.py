"""The arithmetic a step needs, and the fastest this device does arithmetic: together, how well a step uses it.

Knows models, batches and devices; nothing of jobs. Counted is what the model asks for, forward and backward, over real
tokens: not padding, not what a kernel does twice.
"""

from __future__ import annotations

import statistics
import time
from functools import cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipelines.training.feed import TensorBatch
from pipelines.training.model import Model
from pipelines.training.transformer import CausalTransformer, EncoderClassifier

__all__ = ["Flops", "matmul_rate"]


class Flops:
    """FLOP of a step of one model, from what its batches hold."""

    def __init__(self, model: Model):
        self._model = model
        self._each = _products(model) if isinstance(model, (CausalTransformer, EncoderClassifier)) else 0
        self._image: float | None = None

    def of(self, batch: TensorBatch) -> float:
        """2 for each multiply-add, times three for forward and backward: 6·(parameters of matrix products) for each
        token and 12·D·depth for each pair of query and key (Chowdhery et al. 2022, arXiv 2204.02311, appendix B, with
        the pairs that are looked at instead of all T²). Of an image: what PyTorch counts forward, times three.
        """
        model = self._model
        if isinstance(model, (CausalTransformer, EncoderClassifier)):
            width, depth = model.embedding.embedding_dim, len(model.blocks)
            return 6.0 * self._each * batch.num_tokens + 12.0 * width * depth * _pairs(batch, causal=self._causal)
        if self._image is None:
            self._image = _forward(model, batch)
        return 3.0 * self._image * len(batch)

    @property
    def _causal(self) -> bool:
        return isinstance(self._model, CausalTransformer)


def _products(model: nn.Module) -> int:
    return sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))


def _pairs(batch: TensorBatch, *, causal: bool) -> float:
    """(query, key) pairs that are looked at. Padded rows are taken to have the batch's mean length, exact when none is
    padded and an underestimate of under a few percent of attention otherwise."""
    if batch.spans is not None:
        return float(batch.spans.num_pairs)
    length = batch.num_tokens / max(len(batch), 1)
    return len(batch) * (length * (length + 1) / 2 if causal else length * length)


def _forward(model: nn.Module, batch: TensorBatch) -> float:
    """FLOP of one image's forward pass, counted without computing it."""
    shape = (1, *batch.inputs.shape[1:])
    weights = {name: torch.empty_like(tensor, device="meta") for name, tensor in model.state_dict().items()}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        torch.func.functional_call(model, weights, (torch.empty(shape, device="meta"),))
    return float(counter.get_total_flops())


@cache
def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a square matrix product of noise, the median of some after a warm-up: 8192³ on CUDA, about 50 ms in
    all; 256³ on a CPU. Measured once for the process: the ceiling that a step's arithmetic is compared with."""
    size, repeats = (8192, 20) if device.type == "cuda" else (256, 5)
    draws = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, generator=draws, device=device).to(dtype) for _ in range(2))
    times = [_product_s(left, right) for _ in range(repeats + 3)][3:]
    return 2.0 * size**3 / statistics.median(times)


def _product_s(left: torch.Tensor, right: torch.Tensor) -> float:
    if left.device.type != "cuda":
        began = time.perf_counter()
        left @ right
        return time.perf_counter() - began
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    left @ right
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1e3
