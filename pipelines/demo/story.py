"""The demo's story: submit, curate on Ray, pull, train, report. Speaks to the service as any client would.

Training runs here, in the client's process, on shards pulled over HTTP; its losses go back as feedback.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curator import Client, ShardStream
from curator.run import Progress, RunSummary
from pipelines.demo.corpus import write_corpus
from pipelines.demo.digits import Digits, make_digits
from pipelines.training.compare import Comparison, compare
from pipelines.training.presets import PRESETS

__all__ = ["Story", "tell"]

DIGITS_RECIPE: dict[str, Any] = {
    "task": "classification",
    "columns": {"id": "id", "image": "image", "label": "label"},
    "process": ["exact_duplicates"],
    "policy": {"kind": "learned", "max_false_drop": 0.05},
}
NUM_EPOCHS = 10
TRAINING_SEEDS = (0, 1, 2)
NUM_EXAMPLES = 3


@dataclass
class Story:
    """Everything the report card shows."""

    text: RunSummary
    digits: RunSummary
    text_examples: dict[str, list[str]]
    digit_examples: dict[str, list[str]]
    caught: float
    good_lost: float
    mixes: list[dict[str, int]]
    comparison: Comparison
    feedback_rows: int
    seconds: dict[str, float] = field(default_factory=dict)


def tell(client: Client, root: Path, *, seed: int) -> Story:
    """Runs the whole story; prints progress as it goes."""
    clock = _Clock()
    with clock("make inputs"):
        digits = make_digits(root / "demo", seed=seed)
        documents = write_corpus(root / "demo" / "python-packages.jsonl")
        _say(
            f"  {digits.raw.num_rows} digits, a fifth of the labels wrong; {documents} documents of installed packages"
        )
    with clock("curate digits"):
        digit_run = client.curate(
            digits.train, recipe=DIGITS_RECIPE, trusted=digits.trusted, engine="ray", on_progress=_Bar("digits")
        )
    with clock("curate text"):
        text_run = client.curate(
            root / "demo" / "python-packages.jsonl", recipe="text", engine="ray", on_progress=_Bar("text")
        )
    with clock("read verdicts"):
        caught, lost, digit_examples = _against_truth(client, digit_run.summary, digits)
        text_examples = _examples(client, text_run.summary)
    with clock("pull"):
        mixes = _mixes(client, digit_run.manifest)
    with clock("train"):
        comparison, feedback = _train(client, digit_run.manifest, digits)
    return Story(
        text=text_run.summary,
        digits=digit_run.summary,
        text_examples=text_examples,
        digit_examples=digit_examples,
        caught=caught,
        good_lost=lost,
        mixes=mixes,
        comparison=comparison,
        feedback_rows=feedback,
        seconds=clock.seconds,
    )


def _against_truth(client: Client, run: RunSummary, digits: Digits) -> tuple[float, float, dict[str, list[str]]]:
    """(share of bad rows caught, share of good rows lost, examples by reason); trusted rows are not counted.

    Caught: dropped, or relabelled to the truth. Lost: a good row dropped or given another label.
    """
    truth = dict(zip(digits.clean["id"].to_pylist(), digits.clean["label"].to_pylist(), strict=True))
    trusted = set(pq.read_table(digits.trusted)["id"].to_pylist())
    caught: list[bool] = []
    lost: list[bool] = []
    examples: dict[str, list[str]] = {}
    for row in client.decisions(run.run):
        true = truth[row["id"]]
        told = examples.setdefault(row["reason"], []) if row["reason"] else []
        if len(told) < NUM_EXAMPLES:
            told.append(f"{row['id']}: {row['given_label']}, proposed {row['predicted_label']}, truth {true}")
        if row["id"] not in trusted:
            after = row["predicted_label"] if row["action"] == "relabel" else row["given_label"]
            if row["given_label"] != true:
                caught.append(row["action"] == "drop" or after == true)
            else:
                lost.append(row["action"] == "drop" or after != true)
    return float(np.mean(caught)), float(np.mean(lost)), examples


def _examples(client: Client, run: RunSummary) -> dict[str, list[str]]:
    return {
        reason: [str(row["id"]) for row in client.decisions(run.run, reason=reason, limit=NUM_EXAMPLES)]
        for reason in list(run.reasons)
    }


def _mixes(client: Client, manifest: str) -> list[dict[str, int]]:
    """Rows of each difficulty in every epoch served, counted from the batches themselves."""
    stream = ShardStream(
        client, manifest=manifest, num_epochs=NUM_EPOCHS, seed=0, global_batch_size=64, columns=["label"]
    )
    mixes = []
    for epoch in range(NUM_EPOCHS):
        stream.set_epoch(epoch)
        counts: Counter[str] = Counter()
        for batch in stream.iter_batches():
            counts.update(batch.column("difficulty").to_pylist())
        mixes.append({name: counts[name] for name in ("easy", "medium", "hard")})
    return mixes


def _train(client: Client, manifest: str, digits: Digits) -> tuple[Comparison, int]:
    job = client.jobs.create(manifest=manifest, mode="external")
    sent = 0

    def feedback(table: pa.Table) -> None:
        nonlocal sent
        sent += client.feedback(job, table)

    result = compare(
        digits.raw,
        (client, manifest),
        digits.clean,
        digits.test,
        seeds=TRAINING_SEEDS,
        recipe=PRESETS["digits"],
        feedback=feedback,
        training_job=job["id"],
        on_run=lambda arm, number, score: _say(f"  {arm}, seed {number}: {score.accuracy:.3f}"),
    )
    return result, sent


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str) -> _Timed:
        return _Timed(self, name)


class _Timed:
    def __init__(self, clock: _Clock, name: str):
        self.clock, self.name = clock, name

    def __enter__(self) -> None:
        self.started = time.monotonic()
        _say(f"{self.name} …")

    def __exit__(self, *_: object) -> None:
        self.clock.seconds[self.name] = round(time.monotonic() - self.started, 1)


class _Bar:
    """One line of progress in rows, rewritten on a terminal, a line a phase in a pipe."""

    def __init__(self, name: str):
        self.name, self.phase = name, ""

    def __call__(self, progress: Progress) -> None:
        rows = f"{progress.rows_done}/{progress.rows_total} rows"
        line = f"  {self.name}: {progress.phase} {rows}, kept {progress.kept}, dropped {progress.dropped}"
        if sys.stdout.isatty():
            print(f"\r{line:<100}", end="" if progress.phase != "succeeded" else "\n", flush=True)
        elif progress.phase != self.phase:
            _say(line)
        self.phase = progress.phase


def _say(text: str) -> None:
    print(text, flush=True)
