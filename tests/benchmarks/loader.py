"""Samples a second of ShardStream beside LitData, WebDataset, MosaicML Streaming and Hugging Face datasets.

    python tests/benchmarks/loader.py [--rows 320000] [--rounds 3] [--seconds 4] [--only winnow,litdata] [--check]

Rows of about 2 KB of text, shuffled, batches of 64, 0, 1 and 2 DataLoader workers; ours with the staged curriculum,
which no other has. The set (0.65 GB) is larger than what a ShardReader keeps decoded in memory (0.25 GB). Every peer
gets its own format, written by its own writer, on local disk, uncompressed, and the quickest settings found; ours
reads its compressed shards, and, as "+ copies", its local uncompressed copies. Measurements are whole processes, one
after another, interleaved over the rounds; the median of the rounds is shown, and ratios are within the run.

"Arrow" loaders hand out Arrow rows, of which the loop then reads every byte; "str" ones Python strings. --check reads
an epoch of each and compares every row with what was written. "packed" ones read an order written to disk beforehand:
ours, the epochs of a plan; of Hugging Face datasets, one flattened shuffle. The ratios leave them out.

Peers live in a virtual environment of their own under --folder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import _loader_http  # noqa: E402
from _loader_data import ROWS, make_rows  # noqa: E402
from _loader_run import LOADERS, WRITERS  # noqa: E402

PEERS = ["litdata", "webdataset", "mosaicml-streaming", "datasets"]
WORKERS = (0, 1, 2)
LOOP_ONLY = {"datasets iter, Arrow", "datasets iter, str", "datasets iter, packed, Arrow"}
"""Loaders that have no workers."""


def main() -> int:
    chosen = _arguments()
    folder: Path = chosen.folder
    if not (folder / "rows.parquet").exists():
        print(f"making {chosen.rows} rows", flush=True)
    make_rows(folder, chosen.rows)
    peers = _peers(folder)
    loaders = [name for name in LOADERS if any(word in name for word in chosen.only.split(","))]
    if peers is None:
        loaders = [name for name in loaders if name.startswith("winnow")]
    _convert(folder, loaders, peers)
    if chosen.check:
        _check(folder, loaders, peers, chosen.check_seconds)
    else:
        rates = _measure(folder, loaders, peers, chosen.rounds, chosen.seconds)
        _report(rates)
    if "winnow" in chosen.only or not chosen.only:
        _loader_http.report(folder)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "winnow_bench" / "loader")
    parser.add_argument("--rows", type=int, default=ROWS, help="of a new set")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one measurement")
    parser.add_argument("--only", default="", help="loaders whose name contains one of these, by comma")
    parser.add_argument("--check", action="store_true", help="compare every row instead of timing")
    parser.add_argument("--check-seconds", type=float, default=120.0)
    return parser.parse_args()


def _peers(folder: Path) -> Path | None:
    """The peers' Python, installed when it is not there; None, and why, when that fails."""
    python = folder / "peers" / "bin" / "python"
    if (folder / "peers" / "installed").exists():
        return python
    import torch

    print("installing", ", ".join(PEERS), flush=True)
    index = ["--extra-index-url", "https://download.pytorch.org/whl/cpu"] if "+cpu" in torch.__version__ else []
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder / "peers")], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", *index, f"torch=={torch.__version__}", *PEERS]
        subprocess.run(pip, check=True)
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"the peers cannot be installed ({error}); only Winnow is measured")
        return None
    (folder / "peers" / "installed").touch()
    return python


def _run(folder: Path, peers: Path | None, name: str, workers: int, mode: str, seconds: float) -> dict[str, Any] | str:
    """What the measurement printed, or the last line of its complaint."""
    python = sys.executable if name.startswith("winnow") else str(peers)
    script = Path(__file__).parent / "_loader_run.py"
    done = subprocess.run(
        [python, str(script), str(folder), name, str(workers), mode, str(seconds)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no words"])[-1][:200]
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _convert(folder: Path, loaders: list[str], peers: Path | None) -> None:
    for name in WRITERS:
        if any(loader.startswith(name) for loader in loaders) and not (folder / f"{name}.written").exists():
            done = _run(folder, peers, name, 0, "write", 0)
            print(f"written for {name}: {done}", flush=True)
            if isinstance(done, dict):
                (folder / f"{name}.written").touch()


def _measure(
    folder: Path, loaders: list[str], peers: Path | None, rounds: int, seconds: float
) -> dict[tuple[str, int], list[float]]:
    rates: dict[tuple[str, int], list[float]] = {}
    for number in range(rounds):
        for workers in WORKERS:
            for name in loaders:
                if workers and name in LOOP_ONLY:
                    continue
                done = _run(folder, peers, name, workers, "time", seconds)
                if isinstance(done, str):
                    print(f"{name}, {workers} workers: failed: {done}", flush=True)
                    continue
                rates.setdefault((name, workers), []).append(done["rows_per_s"])
        print(f"round {number + 1} of {rounds} done, load {os.getloadavg()[0]:.1f}", flush=True)
    return rates


def _report(rates: dict[tuple[str, int], list[float]]) -> None:
    middle = {key: statistics.median(values) for key, values in rates.items()}
    print(f"\n{'samples/s, median (lowest–highest)':<34}" + "".join(f"{f'{w} workers':>30}" for w in WORKERS))
    for name in dict.fromkeys(name for name, _ in rates):
        cells = []
        for workers in WORKERS:
            values = rates.get((name, workers))
            cells.append(f"{middle[name, workers]:,.0f} ({min(values):,.0f}–{max(values):,.0f})" if values else "–")
        print(f"{name:<34}" + "".join(f"{cell:>30}" for cell in cells))
    shuffled = {key: rate for key, rate in middle.items() if "packed" not in key[0]}
    ours = {key: rate for key, rate in shuffled.items() if key[0].startswith("winnow")}
    theirs = {key: rate for key, rate in shuffled.items() if not key[0].startswith("winnow")}
    if not ours or not theirs:
        return
    best, peer = max(ours, key=lambda key: ours[key]), max(theirs, key=lambda key: theirs[key])
    print(f"\nbest of ours, {best}, over best of theirs, {peer}: {ours[best] / theirs[peer]:.2f}x (wanted 3)")
    for form in ("Arrow", "str"):
        for workers in WORKERS:
            mine = {key: rate for key, rate in ours.items() if key[1] == workers and form in key[0]}
            others = {key: rate for key, rate in theirs.items() if key[1] == workers and _form(key[0]) == form}
            if mine and others:
                low, high = min(mine, key=lambda key: mine[key]), max(others, key=lambda key: others[key])
                print(
                    f"{form}, {workers} workers: our slowest, {low[0]}, over their quickest, {high[0]}: "
                    f"{mine[low] / others[high]:.2f}x; our quickest {max(mine.values()) / others[high]:.2f}x"
                )


def _form(name: str) -> str:
    return "Arrow" if "Arrow" in name else "str"


def _check(folder: Path, loaders: list[str], peers: Path | None, seconds: float) -> None:
    for name in loaders:
        workers = 0 if name in LOOP_ONLY else 2
        done = _run(folder, peers, name, workers, "check", seconds)
        print(f"{name}, {workers} workers: {done}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
