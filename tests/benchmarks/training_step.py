"""The text step: tokens a second, share of the matmul rate and peak memory, beside plain eager float32 twins.

    python tests/benchmarks/training_step.py            the device present: CUDA, else the CPU with one thread
    python tests/benchmarks/training_step.py --only 353M

The naive twin is the same model and optimiser with attention and loss spelled out: all T×T scores and all N×V logits;
the other twin has fused attention and all logits. On CUDA the models have the shape of GPT-2-124M (B 32 × T 1024, V
50,304) and of one of 353M (B 16 × T 2048), on random tokens; on the CPU a small one. The lists are the published
lengths (`_document_lengths.py`) through the 124M model: padded as they come, padded from short to long, packed. Each
row runs in a process of its own, so that its peak is its own; the median step is shown.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import torch

sys.path.insert(0, str(__import__("pathlib").Path(__file__).parents[2]))

from pipelines.training import step as step_module
from pipelines.training import transformer
from pipelines.training.attention import attend_reference
from pipelines.training.clock import Clock
from pipelines.training.feed import TensorBatch
from pipelines.training.flops import Flops, matmul_rate
from pipelines.training.kinds import Optimiser, Regions
from pipelines.training.loss import IGNORE, plain_cross_entropy
from pipelines.training.memory import prepare_allocator
from pipelines.training.model import generator, initialise, num_parameters
from pipelines.training.precision import place
from pipelines.training.spans import spans
from pipelines.training.step import Learner
from tests.benchmarks._document_lengths import LONGEST, packed, padded, published_lengths

SIZES: dict[str, dict[str, int]] = {
    "124M": {"vocabulary": 50_304, "width": 768, "depth": 12, "heads": 12, "batch": 32, "length": 1024, "steps": 20},
    "353M": {"vocabulary": 50_304, "width": 1024, "depth": 24, "heads": 16, "batch": 16, "length": 2048, "steps": 15},
    "small": {"vocabulary": 320, "width": 128, "depth": 4, "heads": 4, "batch": 16, "length": 256, "steps": 8},
}
WARM_UP = 4
Row = dict[str, Any]
"""name, and the arguments of `measure`"""


def rows(device: str) -> list[Row]:
    if device == "cpu":
        return [
            {"name": "naive twin, fp32", "size": "small", "precision": "fp32", "twin": "naive"},
            {"name": "fp32", "size": "small", "precision": "fp32"},
            {"name": "bf16", "size": "small", "precision": "bf16"},
        ]
    fast = {"compiled": True, "size": "124M", "precision": "bf16"}
    return [
        {"name": "124M naive twin, fp32", "size": "124M", "precision": "fp32", "twin": "naive", "steps": 6},
        {"name": "124M fused twin, fp32", "size": "124M", "precision": "fp32", "twin": "fused", "steps": 6},
        {"name": "124M fp32", "size": "124M", "precision": "fp32", "steps": 6},
        {"name": "124M bf16, eager", "size": "124M", "precision": "bf16"},
        {"name": "124M bf16", **fast},
        {"name": "124M bf16, fp32 stream", **fast, "regions": {"residual": "fp32"}},
        {"name": "124M fp16 + loss scaling", **fast, "precision": "fp16"},
        {"name": "124M bf16, 6 heads of 128", **fast, "heads": 6},
        {"name": "353M bf16", **fast, "size": "353M"},
        {"name": "list, as it comes", **fast, "documents": "arrival"},
        {"name": "list, short to long", **fast, "documents": "sorted"},
        {"name": "list, packed, varlen", **fast, "documents": "varlen"},
        {"name": "list, packed, flex", **fast, "documents": "flex"},
    ]


def measure(
    device: str,
    size: str,
    precision: str,
    twin: str | None = None,
    compiled: bool = False,
    regions: dict[str, Any] | None = None,
    heads: int | None = None,
    steps: int | None = None,
    documents: str | None = None,
) -> dict[str, Any]:
    shape = SIZES[size] | ({} if heads is None else {"heads": heads})
    placement = place(device, precision, regions=Regions.model_validate(regions or {}))  # type: ignore[arg-type]
    prepare_allocator()
    names = ("vocabulary", "width", "depth", "heads")
    model = transformer.CausalTransformer(feed_forward="gelu", **{name: shape[name] for name in names})  # type: ignore[arg-type]
    initialise(model, generator(0, "parameters"))
    backend = "inductor" if compiled else None
    learner = Learner(model.to(placement.device), Optimiser(learning_rate=3e-4), placement, compile_with=backend)
    flops = Flops(model)
    batches = [_random(shape)] if documents is None else list(_documents(shape, documents))
    passes = WARM_UP + (steps or shape["steps"]) if documents is None else 2
    warm = WARM_UP if documents is None else len(batches)
    with ExitStack() as stack:
        if twin is not None:
            stack.enter_context(mock.patch.object(step_module, "chunked_cross_entropy", _plain))
        if twin == "naive":
            stack.enter_context(mock.patch.object(transformer, "attend", attend_reference))
        times, loss = _timed(learner, batches * passes, warm, placement.device)
    on_cuda = placement.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    typical = statistics.median(times) * len(batches) if documents is None else sum(times)
    tokens = sum(batch.num_tokens for batch in batches)
    rate = matmul_rate(placement.device, torch.bfloat16 if on_cuda else torch.float32)
    return {
        "tokens_per_s": tokens / typical,
        "ms": typical / len(batches) * 1e3,
        "mfu": sum(flops.of(batch) for batch in batches) / typical / rate,
        "padding": 1 - tokens / sum(batch.num_positions for batch in batches),
        "matmul_tflops": rate / 1e12,
        "peak_gib": peak / 2**30,
        "loss": loss,
        "parameters": num_parameters(model),
    }


def _random(shape: dict[str, int]) -> TensorBatch:
    ids = torch.randint(0, shape["vocabulary"], (shape["batch"], shape["length"] + 1), generator=generator(0, "tokens"))
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    return TensorBatch(
        pa.nulls(shape["batch"]), inputs, targets, num_tokens=inputs.numel(), num_positions=inputs.numel()
    )


def _documents(shape: dict[str, int], how: str) -> Iterator[TensorBatch]:
    """The published lengths as batches of random tokens."""
    draws = generator(0, "tokens")
    if how in ("arrival", "sorted"):
        for sizes in padded(published_lengths(), 32, ordered=how == "sorted"):
            lengths, width = torch.tensor(sizes), -(-max(sizes) // 16) * 16
            ids = torch.randint(0, shape["vocabulary"], (len(sizes), width), generator=draws)
            targets = ids.masked_fill(torch.arange(width) >= lengths[:, None], IGNORE)
            yield TensorBatch(pa.nulls(len(sizes)), ids, targets, num_tokens=sum(sizes), num_positions=ids.numel())
        return
    for rows_of in packed(published_lengths(), LONGEST, 4):
        ids = torch.randint(0, shape["vocabulary"], (4, LONGEST), generator=draws)
        filled = torch.tensor([sum(sizes) for sizes in rows_of])
        real = torch.arange(LONGEST) < filled[:, None]
        pieces = [np.repeat(np.arange(len(sizes) + 1), [*sizes, LONGEST - sum(sizes)]) for sizes in rows_of]
        number = sum(len(sizes) for sizes in rows_of)
        begins = np.cumsum([0, *(len(sizes) for sizes in rows_of[:-1])])
        document = np.minimum(np.stack(pieces) + begins[:, None], number - 1)
        yield TensorBatch(
            pa.nulls(number),
            ids,
            ids.masked_fill(~real, IGNORE),
            document_BT=torch.from_numpy(document),
            spans=spans(rows_of, LONGEST, kernel=how),  # type: ignore[arg-type]
            num_tokens=int(filled.sum()),
            num_positions=ids.numel(),
        )


def _plain(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, **_: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    return plain_cross_entropy(hidden, weight, targets)


def _timed(learner: Learner, batches: list[TensorBatch], warm: int, device: torch.device) -> tuple[list[float], float]:
    """(seconds of each step after the first `warm`, loss of the last)"""
    clock, seen = Clock(device), []
    for number, batch in enumerate(batches):
        moved = batch.to(device)
        if number == warm and device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        began = clock.mark()
        underway = clock.launched(began, learner.step(moved, 3e-4))
        seen.append((began, underway))
        if number < warm:
            underway.wait()
    if device.type == "cuda":
        torch.cuda.synchronize()
    took = [Clock(device).read(underway) for _, underway in seen]
    return [reading.step_s for reading in took[warm:]], took[-1].mean


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", default="", help="rows whose name contains one of these, separated by commas")
    options.add_argument("--one", help="measure one row (JSON) and print JSON; used by this script")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    if chosen.one:
        print(json.dumps(measure(**json.loads(chosen.one))))
        return 0
    device = "cuda" if torch.cuda.is_available() else "cpu"
    where = torch.cuda.get_device_name() if device == "cuda" else "CPU, one thread"
    print(f"text step on {where}, torch {torch.__version__}")
    print(
        f"{'row':<30}{'tokens/s':>11}{'ms/step':>9}{'of matmul':>10}{'padding':>9}{'peak GiB':>10}{'loss':>8}{'s':>6}"
    )
    for row in rows(device):
        if not any(word in row["name"] for word in chosen.only.split(",")):
            continue
        name, arguments = row["name"], {key: value for key, value in row.items() if key != "name"}
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, __file__, "--one", json.dumps({"device": device, **arguments})],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"{name:<30}failed: {done.stderr.strip().splitlines()[-1]}", flush=True)
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{name:<30}{found['tokens_per_s']:>11,.0f}{found['ms']:>9.2f}{found['mfu']:>10.3f}{found['padding']:>9.1%}"
            f"{found['peak_gib']:>10.2f}{found['loss']:>8.3f}{time.monotonic() - began:>6.0f}"
            f"   (matmul {found['matmul_tflops']:.4g} TFLOP/s)",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
