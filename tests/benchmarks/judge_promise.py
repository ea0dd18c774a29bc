"""How often the judge's promises hold: many independent audits of one set, each with thresholds of its own.

    python tests/benchmarks/judge_promise.py --set news --draws 100 --audited 800

For each alpha: good rows dropped (mean; share of draws in which more than alpha were), bad rows caught, and with
`per_class` the same within every given label. A promise with confidence 0.9 may be broken in one draw of ten. Then how
many relabels were written and how many were right.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from _judge_sets import SETS, by_id

from agents.audit import Audit, taught_apart
from agents.determinism import one_thread
from agents.judge import acted
from agents.promise import make_promise
from agents.student import Desk, Student
from curator.recipe.policy import PolicySpec
from curator.verdict import DROP, RELABEL

DATA = Path(os.environ.get("WINNOW_DATA", Path(__file__).parents[3] / "shared" / "data"))
ALPHAS = (0.02, 0.05, 0.1)
MIN_CLASS_ROWS = 50
"""A label with fewer good unaudited rows says too little of its own share."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default="news", choices=list(SETS))
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--audited", type=int, default=800)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/winnow_bench"), help="where vectors are kept")
    options = parser.parse_args()
    if not options.data.exists():
        print(f"no data at {options.data}; set WINNOW_DATA")
        return
    seeds = np.array_split(np.arange(options.first_seed, options.first_seed + options.draws), options.workers)
    with ProcessPoolExecutor(options.workers) as pool:
        draws = [draw for part in pool.map(measured, seeds, [options] * len(seeds)) for draw in part]
    print(f"{options.set}, {options.audited} audited, {len(draws)} draws, confidence 0.9")
    for per_class in (False, True):
        for alpha in ALPHAS:
            rows = [draw[per_class, alpha] for draw in draws]
            lost, caught = (np.array([row[name] for row in rows]) for name in ("lost", "caught"))
            shares = np.array([row["shares"] if per_class else [row["lost"]] for row in rows])
            broken, limit = (shares > alpha).mean(0), 0.1 + 2 * np.sqrt(0.09 / len(rows))
            print(
                f"  alpha {alpha:.2f} {'by label' if per_class else 'of all  '}: broken in "
                f"{', '.join(f'{one:.1%}' for one in broken)} of draws (limit {limit:.1%}); "
                f"good lost {lost.mean():.4f}, bad caught {caught.mean():.3f} ± {_error(caught):.3f}; "
                f"refused {np.mean([row['refused'] for row in rows]):.0%}"
            )
    right, written = (np.array([draw["relabels"][i] for draw in draws]) for i in range(2))
    told = f"{right.sum() / max(written.sum(), 1):.3f} right" if written.any() else "none written"
    print(f"  relabels at a false discovery rate of 0.1: {written.mean():.0f} a draw, {told}")


def measured(seeds: np.ndarray, options: argparse.Namespace) -> list[dict[Any, Any]]:
    """One audit for each seed, on one desk."""
    found = by_id(SETS[options.set](options.data, options.cache, options.first_seed))
    with one_thread():
        desk = Desk.lay(found.rows, found.classes, True, 0)
        return [_draw(desk, found.truth, int(seed), options.audited) for seed in seeds]


def _draw(desk: Desk, truth: np.ndarray, seed: int, audited: int) -> dict[Any, Any]:
    at = np.sort(np.random.default_rng((seed, 7)).permutation(len(truth))[:audited])
    audit = Audit.cross_fitted(taught_apart(desk, at, truth[at], seed), lambda student: student.prior, truth[at])
    student = Student.taught(desk, at, truth[at])
    fresh = np.ones(len(truth), bool)
    fresh[at] = False
    given, out = desk.rows.labels, {}
    badness, relabel = (values.numpy() for values in student.prior.beliefs(student.seen))
    for per_class in (False, True):
        for alpha in ALPHAS:
            config = PolicySpec(max_false_drop=alpha, per_class=per_class, relabel_fdr=0)
            promise = make_promise(student, student.prior, audit, config)
            drop_above = np.array(promise.drop_above)
            thresholds = drop_above[given] if len(drop_above) > 1 else np.full(len(given), drop_above[0])
            dropped = acted(badness, relabel, thresholds, promise.relabel_from) == DROP
            good, bad = fresh & (given == truth), fresh & (given != truth)
            shares = [
                dropped[good & (given == c)].mean()
                for c in np.unique(given)
                if (good & (given == c)).sum() >= MIN_CLASS_ROWS
            ]
            out[per_class, alpha] = {
                "lost": dropped[good].mean(),
                "caught": dropped[bad].mean(),
                "shares": shares,
                "refused": promise.basis == "refused",
            }
    promise = make_promise(student, student.prior, audit, PolicySpec())
    written = fresh & (acted(badness, relabel, np.full(len(given), np.inf), promise.relabel_from) == RELABEL)
    out["relabels"] = (int((student.seen.proposal_B.numpy() == truth)[written].sum()), int(written.sum()))
    return out


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


if __name__ == "__main__":
    main()
