"""Time and memory of the judge on many rows with vectors given: state, learning and decisions on two cores.

    python tests/benchmarks/judge_scale.py --rows 100000

Vectors of 384 numbers in 10 overlapping classes, 20% of labels wrong, 400 trusted. Learning takes the 50,000 rows a
run takes for it, on one core; deciding all rows takes two processes, as two workers would. Then decisions alone:
from states already seen, rows per second of one core.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable

import numpy as np
import torch

from agents.determinism import one_thread
from agents.judge import Judge, acted
from agents.learner import MAX_ROWS, learn
from agents.observation import Observation
from agents.types import Rows
from curator.recipe.policy import PolicySpec

CLASSES, WIDTH, NOISE, TRUSTED = 10, 384, 0.2, 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows, truth = _pool(options.rows)
    start = time.perf_counter()
    sample = rows.take(slice(0, MAX_ROWS))
    trusted = np.where(np.arange(len(sample)) < TRUSTED, truth[: len(sample)], -1)
    config = PolicySpec(rounds=options.rounds)
    judge = learn(sample, trusted, classes=CLASSES, task="classification", config=config)
    learned = time.perf_counter()
    print(f"learned from {len(sample):,} rows in {learned - start:.0f} s", flush=True)
    halves = [rows.take(slice(start, None, 2)) for start in range(2)]
    _both(lambda half: judge.decide(half), halves)
    done = time.perf_counter()
    peaks = [resource.getrusage(who).ru_maxrss / 2**20 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"decided {len(rows):,} rows in two processes in {done - learned:.0f} s; in all {done - start:.0f} s")
    print(f"peak memory {peaks[0]:.2f} GiB learning, {peaks[1]:.2f} GiB the larger of the two deciding")
    print(f"decisions alone {_decisions_per_s(judge, rows):,.0f} rows/s on one core")


def _pool(n: int) -> tuple[Rows, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, CLASSES, n)
    vectors = rng.normal(size=(CLASSES, WIDTH))[truth] * 0.25 + rng.normal(size=(n, WIDTH))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    given = np.where(rng.random(n) < NOISE, (truth + rng.integers(1, CLASSES, n)) % CLASSES, truth)
    ids = rng.integers(0, 256, (n, 16)).astype(np.uint8)
    return Rows(ids, vectors, np.ones(n, bool), given, np.zeros((n, 0), np.float32)), truth


def _both(work: Callable[[Rows], object], halves: list[Rows]) -> None:
    """Each half in a child of its own; raises if one fails."""
    children = []
    for half in halves:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work(half)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    if any(codes):
        raise RuntimeError(f"deciding ended with {codes}; see what it printed")


def _decisions_per_s(judge: Judge, rows: Rows) -> float:
    mind = judge.mind
    with one_thread():
        chunk = mind.observer.space.place(rows.take(slice(0, 1024)))
        seen = mind.observer.observe(chunk)
        seen = Observation(*(torch.cat([getattr(seen, name)] * 100) for name in vars(seen)))
        labels = torch.cat([chunk.labels_B] * 100)
        start = time.perf_counter()
        badness, relabel = (values.numpy() for values in mind.policy.beliefs(seen))
        acted(badness, relabel, mind.drop_above(labels).numpy(), mind.relabel_from)
        return len(labels) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
