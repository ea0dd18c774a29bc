"""Samples a second of ShardStream beside LitData, WebDataset, MosaicML Streaming and Hugging Face datasets.

    python tests/benchmarks/loader.py [--rows 320000] [--share 0.6] [--rounds 3] [--seconds 4] [--only winnow,litdata]
                                      [--check]

Rows of about 2 KB of text, shuffled, batches of 64, 0, 1 and 2 DataLoader workers; ours with the staged curriculum,
which no other has. The set (0.65 GB) is larger than all that our client may keep of it decoded, on disk (`--share` of
it; 0 for its defaults, which keep it all) or in memory (nothing); the rest it decodes whenever it comes. Every peer
gets its own format, written by its own writer, on local disk, uncompressed, and the quickest settings found. Ours reads
its compressed shards, and keeps a scratch, or, as "+ copies", three quarters of it copies of shards. Measurements are
whole processes, one after another, interleaved over the rounds, each of whole epochs (until `--seconds` are over, but
for at most twice as long) after one that is not timed (`--warm` seconds of it at most); the median of the rounds is
shown, and ratios are within the run. The last line is the verdict.

"Arrow" loaders hand out Arrow rows, of which the loop then reads every byte; "str" ones Python strings. --check reads
an epoch of each beforehand and compares every row with what was written; with --rounds 0 nothing else. "packed" ones
read an order written to disk beforehand: ours, the epochs of a plan; of Hugging Face datasets, one flattened shuffle.
The ratios leave them out.

Peers are installed into a virtual environment of their own, once.
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

import pyarrow.parquet as pq

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import _loader_http  # noqa: E402
from _loader_data import ROWS, make_rows  # noqa: E402
from _loader_run import LOADERS, WRITERS  # noqa: E402
from _peer_env import peer_python  # noqa: E402

PEERS = ["litdata", "webdataset", "mosaicml-streaming", "datasets"]
WORKERS = (0, 1, 2)
WANTED = 3
LOOP_ONLY = {"datasets iter, Arrow", "datasets iter, str", "datasets iter, packed, Arrow"}
"""Loaders that have no workers."""
Rates = dict[tuple[str, int], float]


def main() -> int:
    chosen = _arguments()
    folder: Path = chosen.folder
    if not (folder / "rows.parquet").exists():
        print(f"making {chosen.rows} rows", flush=True)
    make_rows(folder, chosen.rows)
    peers = _peers()
    loaders = [name for name in LOADERS if any(word in name for word in chosen.only.split(","))]
    if peers is None:
        loaders = [name for name in loaders if name.startswith("winnow")]
    _convert(folder, loaders, peers)
    _bound(folder, chosen.share)
    sound = _check(folder, loaders, peers, chosen.check_seconds) if chosen.check else True
    rates = _measure(folder, loaders, peers, chosen) if chosen.rounds else {}
    if "winnow" in chosen.only or not chosen.only:
        _loader_http.report(folder)
    if rates:
        _report(rates)
    return 0 if sound else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "winnow_bench" / "loader")
    parser.add_argument("--rows", type=int, default=ROWS, help="of a new set")
    parser.add_argument("--share", type=float, default=0.6, help="of the set that our client may keep; 0: all of it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one measurement")
    parser.add_argument("--warm", type=float, default=5.0, help="seconds read before one, an epoch at most")
    parser.add_argument("--only", default="", help="loaders whose name contains one of these, by comma")
    parser.add_argument("--check", action="store_true", help="compare every row first")
    parser.add_argument("--check-seconds", type=float, default=120.0)
    return parser.parse_args()


def _peers() -> str | None:
    """The peers' Python, with the torch of ours."""
    import torch

    return peer_python("loader_peers", (f"torch=={torch.__version__.split('+')[0]}", *PEERS))


def _bound(folder: Path, share: float) -> None:
    """Says to all measurements how many bytes our client may keep."""
    metadata = pq.ParquetFile(folder / "rows.parquet").metadata
    set_bytes = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    os.environ["CLIENT_BYTES"] = str(int(set_bytes * share))
    kept = f"our client may keep {set_bytes * share / 1e6:,.0f} MB" if share else "our client keeps what it likes"
    print(f"{metadata.num_rows:,} rows, {set_bytes / 1e6:,.0f} MB; {kept}", flush=True)


def _run(
    folder: Path, peers: str | None, name: str, workers: int, mode: str, seconds: float, warm: float = 0.0
) -> dict[str, Any] | str:
    """What the measurement printed, or the last line of its complaint."""
    python = sys.executable if name.startswith("winnow") else str(peers)
    script = Path(__file__).parent / "_loader_run.py"
    done = subprocess.run(
        [python, str(script), str(folder), name, str(workers), mode, str(seconds), str(warm)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no words"])[-1][:200]
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _convert(folder: Path, loaders: list[str], peers: str | None) -> None:
    for name in WRITERS:
        if any(loader.startswith(name) for loader in loaders) and not (folder / f"{name}.written").exists():
            done = _run(folder, peers, name, 0, "write", 0)
            print(f"written for {name}: {done}", flush=True)
            if isinstance(done, dict):
                (folder / f"{name}.written").touch()


def _measure(
    folder: Path, loaders: list[str], peers: str | None, chosen: argparse.Namespace
) -> dict[tuple[str, int], list[float]]:
    rates: dict[tuple[str, int], list[float]] = {}
    for number in range(chosen.rounds):
        for workers in WORKERS:
            for name in loaders:
                if workers and name in LOOP_ONLY:
                    continue
                done = _run(folder, peers, name, workers, "time", chosen.seconds, chosen.warm)
                if isinstance(done, str):
                    print(f"{name}, {workers} workers: failed: {done}", flush=True)
                    continue
                rates.setdefault((name, workers), []).append(done["rows_per_s"])
        print(f"round {number + 1} of {chosen.rounds} done, load {os.getloadavg()[0]:.1f}", flush=True)
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
    verdict = list[str]()
    for workers in WORKERS:
        ratios = [_beside(ours, theirs, form, workers) for form in ("Arrow", "str")]
        least = min((ratio for ratio in ratios if ratio is not None), default=None)
        if least is not None:
            verdict.append(f"{workers} workers {least:.2f}x ({'held' if least >= 1 else 'MISSED'})")
    best, peer = max(ours, key=lambda key: ours[key]), max(theirs, key=lambda key: theirs[key])
    ratio = ours[best] / theirs[peer]
    print(f"best of ours, {_told(best)}, over best of theirs, {_told(peer)}: {ratio:.2f}x")
    print(
        f"\nverdict: best over best {ratio:.2f}x (wanted {WANTED}: {'held' if ratio >= WANTED else 'MISSED'}); "
        f"our slowest over their quickest of its form (wanted 1): {', '.join(verdict)}"
    )


def _beside(ours: Rates, theirs: Rates, form: str, workers: int) -> float | None:
    """Our slowest over their quickest, printed with our quickest; None where one side has none."""
    mine = {key: rate for key, rate in ours.items() if key[1] == workers and _form(key[0]) == form}
    others = {key: rate for key, rate in theirs.items() if key[1] == workers and _form(key[0]) == form}
    if not mine or not others:
        return None
    low, high = min(mine, key=lambda key: mine[key]), max(others, key=lambda key: others[key])
    print(
        f"{form}, {workers} workers: our slowest, {low[0]}, over their quickest, {high[0]}: "
        f"{mine[low] / others[high]:.2f}x; our quickest {max(mine.values()) / others[high]:.2f}x"
    )
    return mine[low] / others[high]


def _told(key: tuple[str, int]) -> str:
    return f"{key[0]}, {key[1]} workers"


def _form(name: str) -> str:
    return "Arrow" if "Arrow" in name else "str"


def _check(folder: Path, loaders: list[str], peers: str | None, seconds: float) -> bool:
    """Whether all of ours gave every row, as it was written, once."""
    sound = True
    for name in loaders:
        workers = 0 if name in LOOP_ONLY else 2
        done = _run(folder, peers, name, workers, "check", seconds)
        print(f"{name}, {workers} workers: {done}", flush=True)
        if name.startswith("winnow"):
            whole = isinstance(done, dict) and done["rows"] == done["of"] and not done["wrong"] and not done["twice"]
            sound = sound and whole
    print(
        "every row of ours came as it was written, once" if sound else "ROWS OF OURS ARE WRONG OR MISSING", flush=True
    )
    return sound


if __name__ == "__main__":
    sys.exit(main())
