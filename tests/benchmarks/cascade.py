"""FineWeb's cascade end to end, Parquet in, kept shards and ledger out: MB of text per CPU-second, beside datatrove.

    python tests/benchmarks/cascade.py [--data tech_docs.parquet] [--megabytes 96] [--peer PYTHON] [--peer-megabytes 4]

The recipe is `fineweb` without language identification and near-duplicates. The text is DATA's column `text`, and
then again with the paragraphs of each document in another order, until there are so many megabytes. Each figure is the
median of `--runs` after a run over 64 rows, so that imports and compiled kernels are there; CPU seconds are user and
system time of the process. PYTHON has `datatrove[io,processing] spacy` (an environment is made when it is not given)
and runs the four filters on the first rows.
Also printed: a tenth of the text, what the ledger takes, and two processes with half of the files each; before and
after them two that only count, each as much as one alone: what the machine has to give at that moment.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import pipelines.phases.finish as finish_step
from curator.recipe import Recipe, load
from curator.run import RunSummary
from pipelines.runs import curate_here

sys.path.insert(0, str(Path(__file__).parent))
from _peer_env import DATATROVE, peer_python

DATA = Path(os.environ.get("WINNOW_DATA", Path(__file__).parents[3] / "shared" / "data"))
FILES = 8
PEER = Path(__file__).with_name("_datatrove_cascade.py")


def recipe() -> Recipe:
    whole = load("fineweb")
    kept = tuple(op for op in whole.process if op.kind not in ("language", "near_duplicates"))
    return whole.model_copy(update={"process": kept})


def rows_of(data: Path, megabytes: float) -> Iterator[str]:
    texts = [text for text in pq.read_table(data, columns=["text"])["text"].to_pylist() if text]
    left, copy = megabytes * 1e6, 0
    while left > 0:
        rng = random.Random(copy)
        for text in texts:
            paragraphs = text.split("\n\n")
            if copy:
                rng.shuffle(paragraphs)
            yield "\n\n".join(paragraphs)
            left -= len(text.encode())
            if left <= 0:
                return
        copy += 1


def write_corpus(folder: Path, data: Path, megabytes: float, files: int = FILES) -> tuple[list[str], float]:
    """Parquet files (zstd) of ids and texts, and their megabytes of text."""
    texts = list(rows_of(data, megabytes))
    folder.mkdir()
    share = -(-len(texts) // files)
    for number in range(files):
        part = range(number * share, min((number + 1) * share, len(texts)))
        table = pa.table({"id": [f"{row}" for row in part], "text": [texts[row] for row in part]})
        if len(part):
            pq.write_table(table, folder / f"{number:02d}.parquet", compression="zstd")
    return sorted(map(str, folder.iterdir())), sum(len(text.encode()) for text in texts) / 1e6


def run(files: list[str]) -> tuple[float, float, RunSummary, int]:
    """CPU seconds, wall seconds, summary and the ledger's bytes of one run in an empty root."""
    with tempfile.TemporaryDirectory() as root:
        cpu, wall = time.process_time(), time.monotonic()
        summary = curate_here(files, recipe(), None, root)
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        ledger = sum(path.stat().st_size for path in Path(summary.ledger).rglob("*.arrow"))
        return cpu, wall, summary, ledger


@contextmanager
def timed_ledger(spent: list[float]) -> Iterator[None]:
    """Adds the wall seconds that writing the ledger takes to `spent`."""
    write = finish_step._write_ledger

    def timed(*args: object) -> None:
        started = time.monotonic()
        write(*args)  # type: ignore[arg-type]
        spent.append(time.monotonic() - started)

    finish_step._write_ledger = timed  # type: ignore[assignment]
    try:
        yield
    finally:
        finish_step._write_ledger = write


def measure(name: str, files: list[str], megabytes: float, runs: int) -> float:
    """Prints a line of figures; returns the median CPU seconds."""
    ledger_s: list[float] = []
    with timed_ledger(ledger_s):
        found = [run(files) for _ in range(runs)]
    cpu = statistics.median(item[0] for item in found)
    wall = statistics.median(item[1] for item in found)
    summary, ledger = found[-1][2:]
    ids = sum(len(f"{row}") for row in range(summary.rows_in)) + 16 * summary.rows_in
    print(
        f"{name}: {megabytes:.1f} MB, {summary.rows_in} rows, kept {summary.kept}; {megabytes / cpu:.1f} MB per CPU-s, "
        f"{megabytes / wall:.1f} MB/s; peak RSS {summary.peak_rss_bytes / 1e6:.0f} MB; ledger "
        f"{sum(ledger_s) / sum(item[1] for item in found):.2%} of wall, {(ledger - ids) / summary.rows_in:.1f} B/row "
        f"beyond the ids (at least)",
        flush=True,
    )
    return cpu


def count() -> None:
    """Work that needs neither memory nor files: says so, waits for a line, counts."""
    print("ready", flush=True)
    sys.stdin.readline()
    total = 0
    for number in range(20_000_000):
        total ^= number


def worker(files: list[str]) -> None:
    """One of several processes: warms up, says so, waits for a line, works, prints its seconds."""
    run(files[:1])
    print("ready", flush=True)
    sys.stdin.readline()
    print(run(files[1:])[1], flush=True)


def workers_wall(works: list[list[str]]) -> float:
    """Wall seconds of as many processes at once, each with its arguments."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, __file__]
    group = [subprocess.Popen([*command, *work], **pipes) for work in works]  # type: ignore[call-overload]
    for process in group:
        process.stdout.readline()
    started = time.monotonic()
    for process in group:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in group:
        process.wait()
    return time.monotonic() - started


def two_against_one(warm: str, files: list[str]) -> None:
    """Prints how much sooner two processes are done than one, and how much of two cores the machine had to give."""
    counting = [2 * workers_wall([["--count"]]) / workers_wall([["--count"]] * 2)]
    one = workers_wall([["--worker", warm, *files]])
    two = workers_wall([["--worker", warm, *files[half::2]] for half in range(2)])
    counting.append(2 * workers_wall([["--count"]]) / workers_wall([["--count"]] * 2))
    print(
        f"two processes: {one / two:.2f} times one ({one:.2f} s, {two:.2f} s); two that only count: "
        f"{counting[0]:.2f} before, {counting[1]:.2f} after",
        flush=True,
    )


def main() -> None:
    if sys.argv[1:2] == ["--count"]:
        count()
        return
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2:])
        return
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, default=DATA / "tech_docs.parquet")
    options.add_argument("--megabytes", type=float, default=96)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--peer", help="a Python that has datatrove")
    options.add_argument("--peer-megabytes", type=float, default=4)
    chosen = options.parse_args()
    if not chosen.data.exists():
        print(f"no data at {chosen.data}; set WINNOW_DATA")
        return
    peer = chosen.peer or peer_python("datatrove", DATATROVE)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        small, _ = write_corpus(folder / "warm", chosen.data, 0.3, 1)
        whole, size = write_corpus(folder / "whole", chosen.data, chosen.megabytes)
        tenth, tenth_size = write_corpus(folder / "tenth", chosen.data, chosen.megabytes / 10)
        run(small)
        cpu = measure("whole", whole, size, chosen.runs)
        tenth_cpu = measure("a tenth", tenth, tenth_size, chosen.runs)
        print(f"ten times the text: {cpu / tenth_cpu * 10 * tenth_size / size:.2f} times the CPU seconds")
        two_against_one(small[0], whole)
        if peer:
            rows, peer_size = write_corpus(folder / "peer", chosen.data, chosen.peer_megabytes, 1)
            measure("same rows as datatrove", rows, peer_size, chosen.runs)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run([peer, str(PEER), *rows], check=True, capture_output=True, text=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"datatrove: {done.stdout.strip()}; {spent:.1f} CPU-s with its imports")


if __name__ == "__main__":
    main()
