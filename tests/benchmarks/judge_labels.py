"""Labels a person must check until 95% and 97% of a set's labels are right, in the order of the judge and of others.

    python tests/benchmarks/judge_labels.py --sets news,tweets --seeds 3

The judge's queue begins with 100 rows by self-corruption; every batch of verdicts, a third of those before, teaches it,
and it orders the next. All verdicts count, the first hundred too. `+ uniform fifth`: as shipped, a fifth of each batch
drawn uniformly. cleanlab: the best of twelve settings, chosen with the truth in hand.
"""

from __future__ import annotations

import argparse
import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from _judge_peers import Bench, cleanlab_badness, oof_probabilities
from _judge_sets import SETS, by_id

from agents.determinism import one_thread
from agents.learner import MIN_LEARNING
from agents.review import review_order
from agents.space import joined
from agents.student import Desk, Student

DATA = Path(os.environ.get("WINNOW_DATA", Path(__file__).parents[3] / "shared" / "data"))
GOALS = (0.95, 0.97)
FIRST_BATCH = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="news", help=f"`all`, or some of {','.join(SETS)}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/winnow_bench"), help="where vectors are kept")
    options = parser.parse_args()
    if not options.data.exists():
        print(f"no data at {options.data}; set WINNOW_DATA")
        return
    names = list(SETS) if options.sets == "all" else options.sets.split(",")
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    tasks = [(name, seed, options) for name in names for seed in seeds]
    with ProcessPoolExecutor(options.workers) as pool:
        found = list(pool.map(measured, *zip(*tasks, strict=True)))
    for name in names:
        runs = [result for (each, *_), result in zip(tasks, found, strict=True) if each == name]
        print(f"\n{name}: labels to check, of 6,000; mean of {len(runs)} (saving on random order)", flush=True)
        for order in runs[0]:
            needed, random = (np.array([run[each] for run in runs], float) for each in (order, "random"))
            mean, saved = needed.mean(0), 1 - needed.mean(0) / random.mean(0)
            told = [
                f"{goal:.0%}: {mean[i]:6.0f} ± {_error(needed)[i]:4.0f} ({saved[i]:4.0%})"
                for i, goal in enumerate(GOALS)
            ]
            print(f"  {order:32}" + "   ".join(told))


def measured(name: str, seed: int, options: argparse.Namespace) -> dict[str, list[int]]:
    """Labels needed for each of GOALS by order."""
    warnings.filterwarnings("ignore", module="cleanlab")
    found = by_id(SETS[name](options.data, options.cache, seed))
    with one_thread():
        desk = Desk.lay(found.rows, found.classes, True, seed)
        n = len(found.truth)
        x, folds = (joined([getattr(chunk, part) for chunk in desk.chunks], n) for part in ("x_BD", "folds_B"))
        bench = Bench(x, folds, found.rows.labels, found.truth, np.zeros(n, bool), found.classes)
        blind = Student.untaught(desk)
        orders = {
            "random": np.random.default_rng(seed).permutation(n),
            "cleanlab, best of 12 settings": np.argsort(
                cleanlab_badness(bench, oof_probabilities(bench)), kind="stable"
            )[::-1],
            "winnow, no verdict heard": np.argsort(-blind.seen.anchor_B.numpy(), kind="stable"),
            "winnow": queue(blind, found.truth, seed, 0.0),
            "winnow + uniform fifth": queue(blind, found.truth, seed, 0.2),
            "oracle": np.argsort(~bench.bad, kind="stable"),
        }
    return {label: [_needed(order, bench.bad, goal) for goal in GOALS] for label, order in orders.items()}


def queue(student: Student, truth: np.ndarray, seed: int, uniform_share: float) -> np.ndarray:
    """All rows in the order in which the judge would have asked for them, taught by every answer before."""
    desk, order, open_rows = student.desk, np.zeros(0, np.int64), np.ones(len(truth), bool)
    bad = desk.rows.labels != truth
    while (bad & open_rows).sum() > (1 - GOALS[-1]) * len(truth) and open_rows.any():
        size = max(FIRST_BATCH, len(order) // 3)
        batch = review_order(student, student.prior, open_rows, size, seed + len(order), uniform_share=uniform_share)
        order, open_rows[batch] = np.concatenate([order, batch]), False
        if len(order) >= MIN_LEARNING:
            at = np.sort(order)
            student = Student.taught(desk, at, truth[at])
    return np.concatenate([order, np.flatnonzero(open_rows)])


def _needed(order: np.ndarray, bad: np.ndarray, goal: float) -> int:
    left = bad.sum() - np.cumsum(bad[order])
    return int(np.argmax(left <= (1 - goal) * len(bad))) + 1


def _error(values: np.ndarray) -> np.ndarray:
    return values.std(0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.full(values.shape[1], np.nan)


if __name__ == "__main__":
    main()
