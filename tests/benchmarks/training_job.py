"""Whole jobs over curated shards of real text on a GPU: what the feed costs, how the allocator does, what half
precision does to the loss.

    python tests/benchmarks/training_job.py                      all three
    python tests/benchmarks/training_job.py --steps 520 --only parity

A byte-level language model of 85M parameters (width 768, depth 12, 12 heads of 64), packed, blocks compiled, over the
technical documents of the evaluation data written as shards and pulled by the epoch plan. Feed: the mean step of a
trainer with feedback and TensorBoard on, against the same batches lying on the device. Parity: the mean training loss
of the last 50 steps and the loss of 64 held-out documents, each precision against float32, same seed and batches. Says
nothing without CUDA or without the data.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

sys.path.insert(0, str(__import__("pathlib").Path(__file__).parents[2]))

from curator.shards import Manifest
from curator.storage import Store
from pipelines.training.clock import Clock
from pipelines.training.course import Course
from pipelines.training.evaluate import evaluate
from pipelines.training.kinds import LanguageModel, Optimiser
from pipelines.training.meters import WARM_UP
from pipelines.training.model import build
from pipelines.training.precision import place_recipe
from pipelines.training.pull import open_rows
from pipelines.training.report import StepRecord, progress_line
from pipelines.training.rows import with_sample_ids
from pipelines.training.sequences import Packed
from pipelines.training.step import Learner
from pipelines.training.supply import Place, Supply
from pipelines.training.trainer import Trainer
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
    options.add_argument("--only", default="feed,parity")
    options.add_argument("--steps", type=int, default=520)
    options.add_argument("--precisions", default="fp32,bf16,fp16")
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
            parity(folder, manifest, table.slice(0, HELD_OUT), chosen.steps, chosen.precisions.split(","))
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
    clock, underway = Clock(placement.device), []
    for step, batch in enumerate(batches):
        began = clock.mark()
        underway.append(clock.launched(began, learner.step(batch, course.rate(step, step, own))))
        if step >= 3:
            underway[step - 3].wait()
    seconds = [clock.read(step).step_s for step in underway]
    return statistics.fmean(seconds[WARM_UP:])


def parity(folder: str, manifest: Manifest, held_out: pa.Table, steps: int, precisions: list[str]) -> None:
    """Every precision over the same batches."""
    tokens = recipe(layout=Packed(tokens_per_step=8192)).layout.tokens_per_step  # type: ignore[union-attr]
    print(
        f"\nloss after {steps} steps of {tokens:,} tokens (mean of the last 50), and on {HELD_OUT} held-out documents"
    )
    exact: tuple[float, float] | None = None
    for precision in precisions:
        own = recipe(precision=precision, layout=Packed(tokens_per_step=8192))
        seen: list[StepRecord] = []
        began = time.monotonic()
        trainer = Trainer(open_rows(folder, manifest, own), own, on_step=seen.append, total_steps=steps)
        report = trainer.run()
        score = evaluate(trainer.learner.model, own, None, held_out, batch_size=16, placement=trainer.placement)
        found = (statistics.fmean(record.loss for record in seen[-50:]), score.mean_loss)
        exact = exact or found
        print(
            f"  {precision:<6}{found[0]:>9.4f} ({found[0] / exact[0] - 1:+.3%}){found[1]:>9.4f} "
            f"({found[1] / exact[1] - 1:+.3%})   {report.num_skipped_steps} steps skipped, attention by "
            f"{report.attention}, {time.monotonic() - began:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
