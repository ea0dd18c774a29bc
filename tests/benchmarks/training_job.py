"""Whole jobs over curated shards on a GPU: what the feed costs, how the allocator does, what half precision does to the
loss.

    python tests/benchmarks/training_job.py                      all
    python tests/benchmarks/training_job.py --steps 520 --only parity

Feed: a byte-level language model of 85M parameters (width 768, depth 12, 12 heads of 64), packed, blocks compiled, over
the technical documents of the evaluation data written as shards and pulled by the epoch plan; the mean step of a
trainer with feedback and TensorBoard on, against the same batches lying on the device. Tokens: GPT-2-124M's step fed
from shards of ids, against one synthetic batch on the device. Parity: each precision against float32 on the technical
documents, by seeds. Says nothing without CUDA or without the data.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

sys.path.insert(0, str(__import__("pathlib").Path(__file__).parents[2]))

from curator.shards import Manifest
from curator.storage import Store
from pipelines.training.clock import Clock
from pipelines.training.course import Course
from pipelines.training.evaluate import evaluate
from pipelines.training.feed import TensorBatch
from pipelines.training.kinds import LanguageModel, Optimiser
from pipelines.training.meters import WARM_UP
from pipelines.training.model import build, generator, initialise
from pipelines.training.precision import Placement, place_recipe
from pipelines.training.pull import open_rows
from pipelines.training.report import StepRecord, progress_line
from pipelines.training.rows import with_sample_ids
from pipelines.training.sequences import Packed, Padded
from pipelines.training.step import Learner
from pipelines.training.supply import Place, Supply
from pipelines.training.trainer import Trainer
from pipelines.training.transformer import CausalTransformer
from tests.benchmarks.training_step import SIZES
from tests.pipelines.training.examples import write_curated

DATA = Path(os.environ.get("WINNOW_DATA", Path(__file__).parents[3] / "shared" / "data")) / "tech_docs.parquet"
HELD_OUT = 64


def recipe(**changes: Any) -> LanguageModel:
    made = LanguageModel(
        width=768,
        depth=12,
        heads=12,
        feed_forward="gelu",
        context=1024,
        layout=Packed(tokens_per_step=32_768),
        epochs=1,
        global_batch_size=16,
        compile=True,
        optimiser=Optimiser(learning_rate=6e-4, weight_decay=0.1, warmup=0.05),
        curriculum="constant",  # type: ignore[arg-type]
    )
    return LanguageModel.model_validate({**made.model_dump(), **changes})


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", default="feed,tokens,parity")
    options.add_argument("--steps", type=int, default=520)
    options.add_argument("--precisions", default="fp32,bf16,fp16")
    options.add_argument("--seeds", default="0,1,2")
    chosen = options.parse_args()
    if not torch.cuda.is_available() or not DATA.exists():
        print(f"needs a CUDA device and {DATA}: nothing to measure here")
        return 0
    table = with_sample_ids(pq.read_table(DATA, columns=["text"]))
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_curated(Store.open(folder), table.slice(HELD_OUT), rows_a_shard=500)
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; {manifest.num_live} documents in shards")
        if "feed" in chosen.only:
            feed(folder, manifest)
        if "parity" in chosen.only:
            parity(folder, manifest, table.slice(0, HELD_OUT), chosen)
        if "tokens" in chosen.only:
            tokens(folder)
    return 0


def feed(folder: str, manifest: Manifest, steps: int = 120) -> None:
    """Twice the same batches: first lying on the device, then from the shards."""
    for context in (1024, 8192):
        own = recipe(context=context)
        held_s = _held(folder, manifest, own, steps)
        seen: list[StepRecord] = []
        with tempfile.TemporaryDirectory() as logs:
            trainer = Trainer(
                open_rows(folder, manifest, own),
                own,
                feedback=lambda table: None,
                on_step=seen.append,
                log_dir=logs,
                total_steps=steps,
            )
            report = trainer.run()
        pace, memory = report.pace, report.allocator
        assert pace is not None and memory is not None
        print(f"\nfeed, context {context}: {progress_line(seen[-1])}; attention by {report.attention}")
        print(
            f"  step fed {pace.step_s * 1e3:.2f} ms, held {held_s * 1e3:.2f} ms: the feed costs "
            f"{pace.step_s / held_s - 1:+.2%}; device idle between steps {pace.waited:.3%}; padding {pace.padding:.2%}"
        )
        print(
            f"  allocator after the first 3 steps: {memory.num_allocations:,} allocations, "
            f"{memory.num_device_allocations} of the driver: reuse {memory.reuse_by_count:.4%} by count, "
            f"{memory.reuse_by_bytes:.4%} by bytes; peak {memory.peak_allocated_bytes / 2**30:.2f} of "
            f"{memory.peak_reserved_bytes / 2**30:.2f} GiB reserved, waste {memory.waste:.2%}",
            flush=True,
        )


def _held(folder: str, manifest: Manifest, own: LanguageModel, steps: int) -> float:
    """The mean step over the trainer's own batches, all of them on the device beforehand."""
    placement = place_recipe(own)
    rows = open_rows(folder, manifest, own)
    course = Course(num_batches=rows.num_batches(0), limit=steps, packed=True)
    supply = Supply(rows, own, None, course, placement)
    epoch = supply.epoch(0, 0, Place())
    batches = [supplied.on_device() for supplied in itertools.islice(epoch, steps)]
    epoch.close()
    learner = Learner(build(own, 0, placement.device), own.optimiser, placement, compile_with="inductor")
    return _mean_s(learner, batches, placement)


def parity(folder: str, manifest: Manifest, held_out: pa.Table, chosen: argparse.Namespace) -> None:
    """Every precision over the same batches, from the same first parameters; seeds change both."""
    size = {"width": 512, "depth": 8, "heads": 8, "context": 512, "layout": Packed(tokens_per_step=8192)}
    print(
        f"\n25M parameters, {chosen.steps} steps of 8,192 tokens: mean loss of the last 50 steps, and of {HELD_OUT} "
        "held-out documents, each against float32 with the same seed"
    )
    ratios: dict[str, list[tuple[float, float]]] = {}
    for seed in map(int, chosen.seeds.split(",")):
        exact: tuple[float, float] | None = None
        for precision in chosen.precisions.split(","):
            own = recipe(precision=precision, seed=seed, global_batch_size=8, **size)
            seen: list[StepRecord] = []
            began = time.monotonic()
            trainer = Trainer(open_rows(folder, manifest, own), own, on_step=seen.append, total_steps=chosen.steps)
            report = trainer.run()
            score = evaluate(trainer.learner.model, own, None, held_out, batch_size=16, placement=trainer.placement)
            found = (statistics.fmean(record.loss for record in seen[-50:]), score.mean_loss)
            exact = exact or found
            ratios.setdefault(precision, []).append((found[0] / exact[0] - 1, found[1] / exact[1] - 1))
            print(
                f"  seed {seed} {precision:<6}{found[0]:>9.4f} ({ratios[precision][-1][0]:+.3%}){found[1]:>9.4f} "
                f"({ratios[precision][-1][1]:+.3%})   {report.num_skipped_steps} steps skipped, attention by "
                f"{report.attention}, {report.steps} steps, {time.monotonic() - began:.0f} s",
                flush=True,
            )
    for precision, pairs in ratios.items():
        last, out = (statistics.fmean(values) for values in zip(*pairs, strict=True))
        print(f"  mean of {len(pairs)} seeds, {precision:<6}{last:+.3%} and {out:+.3%}")


def tokens(folder: str, steps: int = 100) -> None:
    """GPT-2-124M's shape, 32 rows of 1,024 ids a step: ids of shards through the stream, and one batch on the device.

    Held, fed and held again, because a device that warms up slows down.
    """
    shape, draws = SIZES["124M"], np.random.default_rng(0)
    ids = draws.integers(0, shape["vocabulary"], (shape["batch"] * (steps + 20), shape["length"] + 1), dtype=np.uint16)
    table = with_sample_ids(pa.table({"tokens": pa.array([row.tobytes() for row in ids], pa.binary(2 * ids.shape[1]))}))
    manifest = write_curated(Store.open(folder), table, rows_a_shard=1000)
    own = recipe(columns={"text": "tokens"}, layout=Padded(), global_batch_size=shape["batch"])
    placement = place_recipe(own)
    rows = open_rows(folder, manifest, own)
    supply = Supply(rows, own, None, Course(num_batches=rows.num_batches(0), limit=steps, packed=False), placement)
    supply._feed = _ids
    names = ("vocabulary", "width", "depth", "heads")
    model = CausalTransformer(feed_forward="gelu", **{name: shape[name] for name in names})  # type: ignore[arg-type]
    initialise(model, generator(0, "parameters"))
    learner = Learner(model.to(placement.device), own.optimiser, placement, compile_with="inductor")
    synthetic = _ids(next(iter(table.to_batches(max_chunksize=shape["batch"]))), 0).to(placement.device)
    _mean_s(learner, itertools.repeat(synthetic, 10), placement)
    before = _mean_s(learner, itertools.repeat(synthetic, steps // 2), placement)
    epoch = supply.epoch(0, 0, Place())
    fed = _mean_s(learner, (supplied.on_device() for supplied in itertools.islice(epoch, steps)), placement)
    epoch.close()
    after = _mean_s(learner, itertools.repeat(synthetic, steps // 2), placement)
    held = (before + after) / 2
    print(
        f"\n124M, 32 x 1,024 ids of shards: step fed {fed * 1e3:.2f} ms, on one synthetic batch of the device "
        f"{before * 1e3:.2f} ms before and {after * 1e3:.2f} ms after: the feed costs {fed / held - 1:+.2%}",
        flush=True,
    )


def _ids(batch: pa.RecordBatch, step: int | None, context: int | None = None) -> TensorBatch:
    cells = batch.column("tokens")
    width = cells.type.byte_width
    flat = np.frombuffer(cells.buffers()[1], np.uint16)[cells.offset * width // 2 :][: len(cells) * width // 2]
    rows = torch.from_numpy(flat.astype(np.int64)).view(len(cells), -1)
    inputs, targets = rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
    return TensorBatch(
        batch.column("sample_id"), inputs, targets, num_tokens=inputs.numel(), num_positions=inputs.numel()
    )


def _mean_s(learner: Learner, batches: Iterable[TensorBatch], placement: Placement) -> float:
    """The mean step after the first few, three under way at most."""
    clock, underway = Clock(placement.device), []
    for step, batch in enumerate(batches):
        began = clock.mark()
        underway.append(clock.launched(began, learner.step(batch, 3e-4)))
        if step >= 3:
            underway[step - 3].wait()
    return statistics.fmean([clock.read(step).step_s for step in underway][WARM_UP:])


if __name__ == "__main__":
    sys.exit(main())
