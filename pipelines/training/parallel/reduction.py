"""Sums of vectors over ranks: exact and in a fixed order, or in 8 bits with error feedback; every byte sent is counted.

Knows process groups and vectors; nothing of models or of who asks.

Legend: W ranks, N numbers, C numbers of one rank's chunk (W·C ≥ N).
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from pipelines.training.int8_blocks import BLOCK, dequantise, dequantised_sum, quantise
from pipelines.training.parallel.spread import Traffic

__all__ = [
    "all_gather",
    "chunk_size",
    "mean_all",
    "mean_all_int8",
    "mean_scattered",
    "mean_scattered_int8",
    "prepare_int8",
    "summed",
]

all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
"""PyTorch 2.13 gives it that name and deprecates the other."""
_reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


def chunk_size(size: int, world_size: int) -> int:
    """Numbers of a rank's chunk of a vector: whole blocks, the same for all ranks."""
    return -(-size // (world_size * BLOCK)) * BLOCK


def prepare_int8(device: torch.device, world_size: int) -> None:
    """On CUDA, compiles what sums 8-bit vectors, so that it is not compiled within a backward pass."""
    for vectors in {1, world_size} if device.type == "cuda" else ():
        values = torch.zeros(vectors, 4 * BLOCK, dtype=torch.int8, device=device)
        dequantised_sum(values, torch.ones(vectors, 4, device=device))


def mean_scattered(out_C: Tensor, whole_N: Tensor, group: dist.ProcessGroup, traffic: Traffic) -> None:
    """Each rank's chunk of the mean; N = W·C. On the CPU summed in the order of the ranks, wherever a number lies, so
    that it does not matter how a gradient was cut; on a GPU in NCCL's order."""
    world_size = group.size()
    traffic.bytes_sent += (world_size - 1) * out_C.numel() * out_C.element_size()
    if whole_N.is_cuda:
        _reduce_scatter(out_C, whole_N, op=dist.ReduceOp.AVG, group=group)
        return
    theirs_WC = torch.empty_like(whole_N).view(world_size, -1)
    dist.all_to_all_single(theirs_WC, whole_N.view(world_size, -1), group=group)
    out_C.copy_(theirs_WC[0])
    for theirs_C in theirs_WC[1:]:
        out_C.add_(theirs_C)
    out_C.div_(world_size)


def summed(vector_N: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The sum over the ranks, in place; of numbers that are 0 on all ranks but one, exact."""
    dist.all_reduce(vector_N, group=group)
    return vector_N


def mean_all(vector_N: Tensor, group: dist.ProcessGroup, traffic: Traffic) -> Tensor:
    """The mean over the ranks, in place: `mean_scattered`, then every chunk to everybody."""
    world_size = group.size()
    if vector_N.is_cuda:
        traffic.bytes_sent += 2 * (world_size - 1) * vector_N.numel() * vector_N.element_size() // world_size
        dist.all_reduce(vector_N, op=dist.ReduceOp.AVG, group=group)
        return vector_N
    size = len(vector_N)
    whole = F.pad(vector_N, (0, -size % world_size))
    mine_C = torch.empty(len(whole) // world_size, dtype=whole.dtype)
    mean_scattered(mine_C, whole, group, traffic)
    traffic.bytes_sent += (world_size - 1) * mine_C.numel() * mine_C.element_size()
    all_gather(whole, mine_C, group=group)
    return vector_N.copy_(whole[:size])


def mean_scattered_int8(
    whole_N: Tensor, error_N: Tensor | None, group: dist.ProcessGroup, traffic: Traffic
) -> tuple[Tensor, Tensor]:
    """(this rank's chunk of the mean float32[C], the new error float32[N]): chunks travel as int8 and scales, and are
    summed in float32 in the order of the ranks. C is `chunk_size(N, W)`; what lies beyond N is 0."""
    world_size, size = group.size(), len(whole_N)
    chunk = chunk_size(size, world_size)
    values, scales, error = quantise(whole_N, error=error_N)
    values = F.pad(values, (0, world_size * chunk - len(values)))
    scales = F.pad(scales, (0, world_size * chunk // BLOCK - len(scales)), value=1.0)
    sent = torch.cat([_raw(values, world_size), _raw(scales, world_size)], dim=1)
    theirs = torch.empty_like(sent)
    traffic.bytes_sent += (world_size - 1) * sent.shape[1]
    dist.all_to_all_single(theirs, sent, group=group)
    mean_C = dequantised_sum(*_values_and_scales(theirs, chunk)).div_(world_size)
    return mean_C, error


def mean_all_int8(
    vector_N: Tensor,
    errors: tuple[Tensor, Tensor] | None,
    group: dist.ProcessGroup,
    traffic: Traffic,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """(the mean over the ranks float32[N], the new errors): int8 to the owner of each chunk, a sum in float32, int8 to
    everybody, the error of either stage carried on (Tang et al. 2019, arXiv 1905.05957, algorithm 1, with blocks).

    `errors`: of the vector, float32[N], and of this rank's chunk, float32[C]; None at the beginning.
    """
    world_size, size = group.size(), len(vector_N)
    first, second = errors or (None, None)
    mean_C, first = mean_scattered_int8(vector_N, first, group, traffic)
    values, scales, second = quantise(mean_C, error=second)
    mine = torch.cat([_raw(values, 1), _raw(scales, 1)], dim=1)[0]
    whole = torch.empty(world_size * len(mine), dtype=torch.uint8, device=mine.device)
    traffic.bytes_sent += (world_size - 1) * len(mine)
    all_gather(whole, mine, group=group)
    values_WC, scales_WM = _values_and_scales(whole.view(world_size, -1), len(mean_C))
    return dequantise(values_WC.flatten(), scales_WM.flatten())[:size], (first, second)


def _raw(numbers: Tensor, rows: int) -> Tensor:
    return numbers.contiguous().view(torch.uint8).view(rows, -1)


def _values_and_scales(raw_WB: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    return raw_WB[:, :chunk].clone().view(torch.int8), raw_WB[:, chunk:].clone().view(torch.float32)
