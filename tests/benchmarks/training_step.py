"""The text step: tokens a second and peak memory of the product's step beside a plain eager float32 twin.

    python tests/benchmarks/training_step.py            the device present: CUDA, else the CPU with one thread
    python tests/benchmarks/training_step.py --compile  with the blocks compiled as well

The twin is the same model and optimiser with attention and loss spelled out: all T×T scores and all N×V logits. On
CUDA the model is a GPT-2-124M (B 32 × T 1024, V 50,304) on random tokens; on the CPU a small one. Each variant runs in
a process of its own, so that its peak is its own; a step is timed after warm-up, the median is shown.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any
from unittest import mock

import pyarrow as pa
import torch

sys.path.insert(0, str(__import__("pathlib").Path(__file__).parents[2]))

from pipelines.training import step as step_module
from pipelines.training import transformer
from pipelines.training.attention import attend_reference
from pipelines.training.feed import TensorBatch
from pipelines.training.kinds import Optimiser
from pipelines.training.loss import plain_cross_entropy
from pipelines.training.model import generator, initialise, num_parameters
from pipelines.training.precision import place
from pipelines.training.step import Learner

SIZES = {
    "cuda": {"vocabulary": 50_304, "width": 768, "depth": 12, "heads": 12, "batch": 32, "length": 1024, "steps": 20},
    "cpu": {"vocabulary": 320, "width": 128, "depth": 4, "heads": 4, "batch": 16, "length": 256, "steps": 8},
}
WARM_UP = 3


def variants(device: str, compiled: bool) -> list[tuple[str, str, bool, bool]]:
    """(name, precision, twin, compiled)"""
    rows = [("plain twin, fp32, eager", "fp32", True, False), ("the step, fp32", "fp32", False, False)]
    rows += [("the step, bf16", "bf16", False, False)]
    if device == "cuda":
        rows += [("the step, fp16 + loss scaling", "fp16", False, False)]
    if compiled:
        rows += [("the step, bf16, compiled blocks", "bf16", False, True)]
    return rows


def measure(device: str, precision: str, twin: bool, compiled: bool) -> dict[str, Any]:
    size = SIZES[device]
    placement = place(device, precision)  # type: ignore[arg-type]
    names = ("vocabulary", "width", "depth", "heads")
    model = transformer.CausalTransformer(feed_forward="gelu", **{name: size[name] for name in names})
    initialise(model, generator(0, "parameters"))
    backend = "inductor" if compiled else None
    learner = Learner(model.to(placement.device), Optimiser(learning_rate=3e-4), placement, compile_with=backend)
    draws = generator(0, "tokens")
    ids = torch.randint(0, size["vocabulary"], (size["batch"], size["length"] + 1), generator=draws)
    batch = TensorBatch(pa.nulls(size["batch"]), ids[:, :-1].contiguous(), ids[:, 1:].contiguous()).to(placement.device)
    with ExitStack() as stack:
        if twin:
            stack.enter_context(mock.patch.object(transformer, "attend", attend_reference))
            stack.enter_context(mock.patch.object(step_module, "chunked_cross_entropy", _plain))
        seconds, loss = _timed(learner, batch, size["steps"], placement.device)
    tokens = size["batch"] * size["length"]
    peak = (
        torch.cuda.max_memory_allocated()
        if device == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return {
        "tokens_per_s": tokens / seconds,
        "ms": seconds * 1e3,
        "peak_gib": peak / 2**30,
        "loss": loss,
        "parameters": num_parameters(model),
    }


def _plain(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, **_: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    return plain_cross_entropy(hidden, weight, targets)


def _timed(learner: Learner, batch: TensorBatch, steps: int, device: torch.device) -> tuple[float, float]:
    """(median seconds a step, loss of the last)"""
    times = []
    for number in range(WARM_UP + steps):
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        result = learner.step(batch, 3e-4)
        if device.type == "cuda":
            torch.cuda.synchronize()
        if number >= WARM_UP:
            times.append(time.perf_counter() - began)
    return statistics.median(times), float(result.mean)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--compile", action="store_true")
    options.add_argument(
        "--one", help="measure one variant (JSON of its arguments) and print JSON; used by this script"
    )
    chosen = options.parse_args()
    torch.set_num_threads(1)
    if chosen.one:
        print(json.dumps(measure(**json.loads(chosen.one))))
        return 0
    device = "cuda" if torch.cuda.is_available() else "cpu"
    where = torch.cuda.get_device_name() if device == "cuda" else "CPU, one thread"
    print(f"text step on {where}, torch {torch.__version__}: {SIZES[device]}")
    print(f"{'variant':<34}{'tokens/s':>12}{'ms/step':>10}{'peak GiB':>10}{'loss':>8}{'speed':>8}{'memory':>8}")
    twin: dict[str, Any] | None = None
    for name, precision, is_twin, compiled in variants(device, chosen.compile):
        arguments = json.dumps({"device": device, "precision": precision, "twin": is_twin, "compiled": compiled})
        done = subprocess.run(
            [sys.executable, __file__, "--one", arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(f"{name:<34}failed: {done.stderr.strip().splitlines()[-1]}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        twin = twin or found
        print(
            f"{name:<34}{found['tokens_per_s']:>12,.0f}{found['ms']:>10.1f}{found['peak_gib']:>10.2f}{found['loss']:>8.3f}"
            f"{found['tokens_per_s'] / twin['tokens_per_s']:>7.2f}x{found['peak_gib'] / twin['peak_gib'] - 1:>+8.0%}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
