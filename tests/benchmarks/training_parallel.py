"""Training on many devices: what compressed gradients and asynchronous exchanges do to loss, bytes and waiting.

    python tests/benchmarks/training_parallel.py                                  on the CPU: 4 processes over gloo
    torchrun --nproc-per-node 2 tests/benchmarks/training_parallel.py --gpu       step times on GPUs over NCCL
    torchrun --nproc-per-node 1 tests/benchmarks/training_parallel.py --gpu       the same, of one

On the CPU a byte-level language model learns from the technical documents of the evaluation data, pulled from shards;
every way of compressing and exchanging is trained from several seeds, and scored on held-out documents against
uncompressed averaging of every step's gradients. An exchange takes 200 ms longer than it would (`--delay`). On GPUs
the 124M shape takes steps of 16 × 1,024 random tokens a rank, blocks compiled, bf16.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

sys.path.insert(0, str(__import__("pathlib").Path(__file__).parents[2]))

from curator.storage import Store
from pipelines.training import transformer
from pipelines.training.checkpoint import load_model
from pipelines.training.evaluate import evaluate
from pipelines.training.feed import TensorBatch
from pipelines.training.kinds import LanguageModel, Optimiser
from pipelines.training.memory import prepare_allocator
from pipelines.training.model import generator, initialise
from pipelines.training.parallel.kinds import Alone, DataParallel, LocalSteps, ShardedParallel
from pipelines.training.parallel.ranks import Ranks, joined
from pipelines.training.parallel.shards import Shards
from pipelines.training.parallel.ways import spread_for
from pipelines.training.precision import place
from pipelines.training.rows import with_sample_ids
from pipelines.training.step import Learner
from tests.benchmarks._parallel_jobs import over_shards
from tests.pipelines.training.examples import write_curated
from tests.pipelines.training.parallel.processes import launched

DATA = Path(os.environ.get("WINNOW_DATA", Path(__file__).parents[3] / "shared" / "data")) / "tech_docs.parquet"
HELD_OUT = 64
RANKS = 4
EXCHANGE = {"kind": "diloco", "local_steps": 16, "fragments": 2, "delay": 6, "patience_s": 20.0}
WAYS: dict[str, dict[str, Any]] = {
    "averaged": {"kind": "ddp"},
    "bf16": {"kind": "ddp", "compress": "bf16"},
    "int8": {"kind": "ddp", "compress": "int8"},
    "powersgd 4": {"kind": "ddp", "compress": "powersgd"},
    "slices int8": {"kind": "fsdp", "compress": "int8"},
    "diloco": EXCHANGE,
    "diloco, waiting": {**EXCHANGE, "delay": 0},
    "diloco, no start": {**EXCHANGE, "start": 0.0},
}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--gpu", action="store_true")
    options.add_argument("--ways", default=",".join(WAYS).replace(", ", "/"))
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--epochs", type=int, default=8, help="of 95 steps")
    options.add_argument("--first-seed", type=int, default=0)
    options.add_argument("--exchanges", action="store_true", help="on GPUs: asynchronous exchanges alone")
    options.add_argument("--delay", type=float, default=0.2, help="seconds that an exchange takes longer")
    chosen = options.parse_args()
    if chosen.exchanges:
        _gpu_exchanges()
        return 0
    if chosen.gpu:
        return on_gpus()
    if not DATA.exists():
        print(f"needs {DATA}: nothing to measure here")
        return 0
    names = [name.replace("/", ", ") for name in chosen.ways.split(",")]
    table = with_sample_ids(pq.read_table(DATA, columns=["text"]))
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_curated(Store.open(f"{folder}/root"), table.slice(HELD_OUT), rows_a_shard=500)
        print(f"{RANKS} processes, torch {torch.__version__}, {manifest.num_live} documents in shards")
        on_cpus(folder, manifest.id, table.slice(0, HELD_OUT), names, chosen)
    return 0


def recipe(parallel: dict[str, Any], seed: int, epochs: int) -> LanguageModel:
    return LanguageModel.model_validate(
        {
            "width": 64, "depth": 2, "heads": 2, "context": 128, "epochs": epochs, "global_batch_size": 32,
            "optimiser": Optimiser(learning_rate=4e-3, weight_decay=0.1), "curriculum": "constant", "device": "cpu",
            "seed": seed, "checkpoint_every": 100_000, "parallel": parallel,
        }
    )  # fmt: skip


def on_cpus(folder: str, manifest: str, held_out: pa.Table, names: list[str], chosen: argparse.Namespace) -> None:
    """A row for each way: loss, bytes, and how much of its exchanges passed while it learned."""
    print("way               held-out loss (seeds)                    against averaged   MB sent   bytes    hidden   s")
    exact: list[float] = []
    whole = 0
    for name in names:
        losses, seconds, hidden = [], [], []
        for seed in range(chosen.first_seed, chosen.first_seed + chosen.seeds):
            out = f"{folder}/{name}-{seed}"
            own = recipe(WAYS[name], seed, chosen.epochs)
            arguments = (f"{folder}/root", manifest, own.model_dump(mode="json"), out, chosen.delay)
            found = launched(over_shards, RANKS, *arguments).results(patience_s=600)
            report = found[0][0]
            losses.append(evaluate(load_model(out).model, own, None, held_out).mean_loss)
            seconds.append(found[0][2])
            if report.exchange_s:
                hidden.append(1 - report.waited_s / report.exchange_s)
        exact, whole = (exact or losses), (whole or report.bytes_sent)
        apart = statistics.fmean(ours / theirs - 1 for ours, theirs in zip(losses, exact, strict=True))
        print(
            f"{name:<18}{statistics.fmean(losses):.4f} ({' '.join(f'{loss:.4f}' for loss in losses)})"
            f"{apart:>12.3%} {report.bytes_sent / 1e6:>14.1f} {report.bytes_sent / whole:>8.2%}"
            f"{f'{statistics.fmean(hidden):>9.1%}' if hidden else '        -'}{statistics.fmean(seconds):>6.0f}"
            f"   {report.steps} steps",
            flush=True,
        )


SHAPE = {"vocabulary": 50_304, "width": 768, "depth": 12, "heads": 12}
BATCH, LENGTH, STEPS, WARM_UP = 16, 1024, 24, 6


def on_gpus() -> int:
    """Medians of steps by CUDA events, of rank 0; each way is measured in the same processes."""
    parallel = "ddp" if int(os.environ.get("WORLD_SIZE", "1")) > 1 else "fsdp"
    base = LanguageModel(parallel=parallel, global_batch_size=64)  # type: ignore[arg-type]
    prepare_allocator()
    with joined(base) as ranks:
        say = print if ranks.leads else (lambda *_, **__: None)
        say(f"{torch.cuda.get_device_name()} × {ranks.world_size}, torch {torch.__version__}")
        ways: list[tuple[str, Any]] = [("plain", Alone())]
        if ranks.world_size > 1:
            ways += [(f"ddp {name}", DataParallel(compress=name)) for name in ("none", "bf16", "int8", "powersgd")]
            ways += [("fsdp int8", ShardedParallel(compress="int8"))]
        ways += [("fsdp", ShardedParallel()), ("plain again", Alone()), ("fsdp again", ShardedParallel())]
        if ranks.world_size == 1:
            ways += [("fsdp in slices", ShardedParallel()), ("plain once more", Alone())]
        ways += [("fsdp offload", ShardedParallel(offload=True))]
        plain = 0.0
        for name, kind in ways:
            try:
                median, peak, sent = _gpu_steps(kind, ranks, cut=name == "fsdp in slices")
            except Exception:
                say(f"{name:<16} failed\n{traceback.format_exc(limit=6)}", flush=True)
                continue
            plain = plain or median
            say(
                f"{name:<16}{median * 1e3:>9.2f} ms {median / plain - 1:>+8.2%}{peak / 2**30:>8.2f} GiB"
                f"{sent / 1e6:>10.1f} MB sent a step",
                flush=True,
            )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _gpu_exchanges()
    return 0


def _gpu_learner(kind: Any, ranks: Ranks, cut: bool = False) -> tuple[Learner, TensorBatch]:
    """`cut`: in slices, though there be one rank."""
    torch._dynamo.reset()
    placement = place("cuda", "bf16")
    own = LanguageModel(parallel=kind, global_batch_size=64)
    model = transformer.CausalTransformer(feed_forward="gelu", **SHAPE)  # type: ignore[arg-type]
    initialise(model, generator(0, "parameters"))
    spread = Shards(kind, placement) if cut else spread_for(own, ranks, placement)
    model = model.to(placement.device)
    learner = Learner(model, Optimiser(learning_rate=3e-4), placement, compile_with="inductor", spread=spread)
    draws = torch.Generator("cuda").manual_seed(ranks.rank)
    ids = torch.randint(0, SHAPE["vocabulary"], (BATCH, LENGTH + 1), device="cuda", generator=draws)
    batch = TensorBatch(
        pa.array([b"0" * 16] * BATCH, pa.binary(16)), ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), context=LENGTH
    )
    return learner, batch


def _gpu_steps(kind: Any, ranks: Ranks, cut: bool = False) -> tuple[float, int, float]:
    """(median seconds, peak bytes, bytes sent a step)"""
    learner, batch = _gpu_learner(kind, ranks, cut)
    for _ in range(WARM_UP):
        learner.step(batch, 3e-4)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before, events = learner.spread.traffic.bytes_sent, [torch.cuda.Event(enable_timing=True)]
    events[0].record()
    for _ in range(STEPS):
        learner.step(batch, 3e-4)
        events.append(torch.cuda.Event(enable_timing=True))
        events[-1].record()
    torch.cuda.synchronize()
    times = [first.elapsed_time(last) / 1e3 for first, last in itertools.pairwise(events)]
    sent = (learner.spread.traffic.bytes_sent - before) / STEPS
    peak = torch.cuda.max_memory_allocated()
    del learner
    torch.cuda.empty_cache()
    return statistics.median(times), peak, sent


def _gpu_exchanges() -> None:
    """Asynchronous exchanges against the same steps without any; a board on this machine."""
    kind = LocalSteps(start=0.0, local_steps=64, fragments=4, delay=12, patience_s=30)
    with joined(LanguageModel(parallel=kind, global_batch_size=64)) as ranks:
        say = print if ranks.leads else (lambda *_, **__: None)
        try:
            for name, own in (("no exchange", Alone()), ("diloco", kind), ("diloco, waiting", _waiting(kind))):
                learner, batch = _gpu_learner(own, ranks)
                learner.spread.begin()
                for _ in range(4):
                    learner.step(batch, 3e-4)
                torch.cuda.synchronize()
                began = time.perf_counter()
                for step in range(1, 193):
                    learner.step(batch, 3e-4)
                    learner.spread.stepped(step + (1000 * 64 if own is not kind else 0))
                torch.cuda.synchronize()
                seen, each = learner.spread.traffic, (time.perf_counter() - began) / 192
                hidden = 1 - seen.waited_s / seen.exchange_s if seen.exchange_s else 0.0
                say(
                    f"{name:<16}{each * 1e3:>9.2f} ms a step, {seen.bytes_sent / 1e6:.1f} MB sent in 192 steps, "
                    f"exchanges {seen.exchange_s:.2f} s, waited {seen.waited_s:.2f} s, hidden {hidden:.1%}",
                    flush=True,
                )
                del learner
        except Exception:
            say(f"exchanges failed\n{traceback.format_exc(limit=6)}", flush=True)


def _waiting(kind: LocalSteps) -> LocalSteps:
    return kind.model_copy(update={"delay": 0})


if __name__ == "__main__":
    sys.exit(main())
