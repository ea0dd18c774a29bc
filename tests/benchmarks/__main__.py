"""`make bench`: every benchmark here, one after another; each prints its own table beside its peer or its limit.

`make bench ONLY=judge_noisyag` runs one. A benchmark whose data or peer is absent says so and is passed over.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Exit code 0 when none failed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", default="", help="run the benchmarks whose name contains this")
    only = options.parse_args().only
    failed = []
    for path in sorted(HERE.glob("*.py")):
        if path.stem.startswith("_") or only not in path.stem:
            continue
        print(f"\n== {path.stem}", flush=True)
        if subprocess.run([sys.executable, str(path)], cwd=HERE.parents[1], check=False).returncode:
            failed.append(path.stem)
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall benchmarks ran")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
