"""Times on a CUDA device, and the two ceilings they are compared with: a large matrix product and a large copy.

Knows kernels as functions; nothing of training.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch

from pipelines.training.flops import matmul_rate


def median_s(run: Callable[[], Any], *, repeats: int = 15, warm_up: int = 4) -> float:
    """Median seconds of a call by CUDA events, after a warm-up."""
    for _ in range(warm_up):
        run()
    times = []
    for _ in range(repeats):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        run()
        last.record()
        last.synchronize()
        times.append(first.elapsed_time(last) / 1e3)
    return statistics.median(times)


def replayed_s(calls: Sequence[Callable[[], Any]], *, rounds: int = 4, repeats: int = 9) -> float:
    """Median seconds of a call inside a replayed graph of all the calls in turn: without the gaps of launching, and,
    where each call has data of its own, without what the last one left in the cache."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for call in calls:
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(rounds):
            for call in calls:
                call()
    return median_s(graph.replay, repeats=repeats, warm_up=2) / (rounds * len(calls))


def matmul_ceiling() -> float:
    """FLOP/s of a bf16 product of 8192³, on random data."""
    return matmul_rate(torch.device("cuda"), torch.bfloat16)


def copy_ceiling() -> float:
    """Bytes per second of a device-to-device copy of 4 GiB, read plus written."""
    source = torch.randn(2**30, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    target = torch.empty_like(source)
    return 2 * source.nbytes / median_s(lambda: target.copy_(source))
