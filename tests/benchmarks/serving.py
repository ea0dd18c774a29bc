"""A classifier that answers on a GPU: latency of one text with its copies, texts a second, copies hidden.

    python tests/benchmarks/serving.py

A text encoder of 66M parameters (6 layers, width 768, 12 heads, a table of 30,208 n-grams) as `build` makes it, texts
of 128 tokens; images of 3 × 224 × 224 for the copies, which texts hardly have. Says nothing without CUDA.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import pyarrow as pa
import torch

from pipelines.training.checkpoint import TrainedModel
from pipelines.training.compress.scoring import run_of
from pipelines.training.kinds import ImageClassifier, TextClassifier
from pipelines.training.model import build, num_parameters
from pipelines.training.serving.backends import OnCpu, OnGpu
from pipelines.training.serving.serve import Serving
from tests.pipelines.training.serving.models import awake

LENGTH = 128
ENCODER = TextClassifier(
    width=768, depth=6, heads=12, feed_forward="gelu", context=LENGTH, ngram_buckets=30_208, ngrams=(3, 4)
)
PICTURES = ImageClassifier(image_size=224, width=32, depth=1)


def main() -> int:
    if not torch.cuda.is_available():
        print("needs a CUDA device: nothing to measure here")
        return 0
    model = awake(build(ENCODER, 16, torch.device("cpu")))
    trained = TrainedModel(recipe=ENCODER, classes=tuple(range(16)), model=model)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {num_parameters(model) / 1e6:.1f}M parameters")
    for name, compiled in (("graph", False), ("compiled graph", True)):
        _texts(name, trained, OnGpu(model, compiled=compiled))
    _routed(trained)
    _copies()
    return 0


def _texts(name: str, trained: TrainedModel, backend: OnGpu) -> None:
    draws = np.random.default_rng(0)
    lines = ["".join(map(chr, draws.integers(97, 123, LENGTH - 2))) for _ in range(256)]
    with Serving(trained, [backend], rows=(1, 256), lengths=(LENGTH,)) as serving:
        one, many = pa.array(lines[:1]), pa.array(lines)
        ids, all_ids = serving._tensors(one)[0], serving._tensors(many)[0]
        row = _percentiles(lambda: backend.scores(ids, None))
        whole = _percentiles(lambda: serving.answer(one))
        list(serving.stream([many] * 20))
        began = time.perf_counter()
        count = sum(len(answers.labels) for answers in serving.stream([many] * 200))
        rate = count / (time.perf_counter() - began)
        with ThreadPoolExecutor(backend.workers) as threads:
            began = time.perf_counter()
            list(threads.map(lambda _: backend.scores(all_ids, None), range(200)))
            ready = 200 * len(lines) / (time.perf_counter() - began)
        with torch.no_grad():
            exact = trained.model(all_ids[:32], None).softmax(1).numpy()
        off = np.abs(serving.answer(many).probabilities[:32] - exact).max()
    print(
        f"{name:<16}1 x {LENGTH} with its copies p50 {row[0]:.3f} p99 {row[1]:.3f} ms; from text to class p50 "
        f"{whole[0]:.3f} p99 {whole[1]:.3f} ms; 256 x {LENGTH}, a stream of texts: {rate:,.0f} texts/s, of ids: "
        f"{ready:,.0f}; probabilities off by {off:.1e}",
        flush=True,
    )


def _percentiles(call: Callable[[], Any], number: int = 2000) -> tuple[float, float]:
    times = []
    for _ in range(number + 200):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return float(np.percentile(times[200:], 50) * 1e3), float(np.percentile(times[200:], 99) * 1e3)


def _routed(trained: TrainedModel) -> None:
    """What each shape costs on either, and where a mix of light and heavy batches goes."""
    backends = [OnCpu(run_of(trained.model)), OnGpu(trained.model)]
    with Serving(trained, backends, rows=(1, 64), lengths=(32, LENGTH)) as serving:
        costs = serving.routing.costs
    for bucket in costs["cpu"]:
        print(f"  {bucket.rows} x {bucket.length}: cpu {costs['cpu'][bucket] * 1e3:.2f} ms, gpu "
              f"{costs['gpu'][bucket] * 1e3:.2f} ms")  # fmt: skip


def _copies(rows: int = 64, calls: int = 200) -> None:
    """Two graphs in turn against the kernels alone and the copies alone."""
    model = awake(build(PICTURES, 10, torch.device("cpu")))
    pixels = torch.randn(rows, 3, 224, 224)
    backend = OnGpu(model)
    backend.scores(pixels, None)
    [graphs] = [list(free.queue) for free in backend._free.values()]
    both = _gpu_s(lambda: [_replayed(graph) for graph in graphs], calls) / 2
    alone = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.autocast("cuda", torch.float16), torch.cuda.graph(alone):
        backend._run(graphs[0]._there[0], None)
    kernels = _gpu_s(alone.replay, calls)
    copies = _gpu_s(lambda: graphs[0]._there[0].copy_(graphs[0]._host[0], non_blocking=True), calls)
    print(
        f"{rows} images of {pixels[0].nbytes * rows / 1e6:.0f} MB a batch: kernels {kernels * 1e3:.3f} ms, copies "
        f"{copies * 1e3:.3f} ms, two in turn {both * 1e3:.3f} ms a batch: {1 - (both - kernels) / copies:.1%} hidden"
    )


def _replayed(graph: Any) -> None:
    with torch.cuda.stream(graph._stream):
        graph._graph.replay()


def _gpu_s(call: Callable[[], Any], calls: int) -> float:
    times = []
    for _ in range(5):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(calls):
            call()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - began) / calls)
    return statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
