"""`make bench`: every benchmark here, one after another; each prints its own table beside its peer or its limit.

`make bench` runs each as `SHORT` says, enough to see the figures without their spread.
`make bench WHOLE=1` runs each as its own defaults say, which takes hours. `make bench ONLY=curate_noisyag` runs one. A
benchmark whose data, device or peer is absent says so and is passed over.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SHORT = {
    "cascade": "--megabytes 24 --runs 1 --peer-megabytes 1",
    "compress": "--seeds 1",
    "curate_noisyag": "--draws 1",
    "dashboards": "--seconds 20",
    "epoch_plan": "--skip-permutation",
    "judge": "--sets news --seeds 1",
    "judge_gross": "--seeds 1",
    "judge_labels": "--sets news --seeds 1",
    "judge_promise": "--draws 2",
    "judge_scale": "--rows 10000",
    "kill_soak": "--kills 10 --minutes 3",
    "leases": "--rows 50000 --consumers 1,2",
    "loader": "--rounds 1 --seconds 1",
    "near_duplicates": "--docs 4000 --pairs 1000 --peer-docs 200",
    "pull_ranks": "--epochs 2",
    "service_training": "--small --engine inline --epochs 1",
    "training_motion": "--seeds 1 --epochs 3 --clips 500",
    "training_parallel": "--seeds 1 --epochs 1",
    "worker_memory": "--megabytes 20",
}


def main() -> int:
    """Exit code 0 when none failed."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", default="", help="run the benchmarks whose name contains this")
    options.add_argument("--whole", action="store_true", help="with their own defaults, as results are published")
    chosen = options.parse_args()
    failed = []
    for path in sorted(HERE.glob("*.py")):
        if path.stem.startswith("_") or chosen.only not in path.stem:
            continue
        arguments = [] if chosen.whole else SHORT.get(path.stem, "").split()
        print(f"\n== {' '.join([path.stem, *arguments])}", flush=True)
        began = time.monotonic()
        if subprocess.run([sys.executable, str(path), *arguments], cwd=HERE.parents[1], check=False).returncode:
            failed.append(path.stem)
        print(f"-- {path.stem}: {time.monotonic() - began:.0f} s", flush=True)
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall benchmarks ran")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
