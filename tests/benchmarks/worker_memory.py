"""Peak RSS of a Ray worker on 1x and 10x of the same text: it must not grow with the dataset (limit: 15%).

Builds its text from the documentation of the installed packages, repeated with a number in every line so that no two
rows are alike. `--megabytes 50` sets 1x.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from curator.recipe import load
from pipelines.demo.corpus import write_corpus
from pipelines.runs import curate_here


def build(folder: Path, megabytes: int, times: int) -> list[str]:
    """Files of about 10 MB of JSON lines, `times` × megabytes in all."""
    seed = folder / "seed.jsonl"
    if not seed.exists():
        write_corpus(seed)
    rows = [json.loads(line) for line in seed.open(encoding="utf-8")]
    files, written, number, goal = [], 0, 0, times * megabytes * 1_000_000
    while written < goal:
        path = folder / f"part-{times}-{len(files):04d}.jsonl"
        with path.open("w", encoding="utf-8") as sink:
            size = 0
            while size < 10_000_000 and written < goal:
                row = rows[number % len(rows)]
                text = "\n".join(f"{line} {number}" for line in row["text"].splitlines())
                size += sink.write(json.dumps({"id": number, "text": text}) + "\n")
                number += 1
                written += len(text)
        files.append(str(path))
    return files


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--megabytes", type=int, default=50)
    options.add_argument("--engine", choices=["inline", "ray"], default="ray")
    chosen = options.parse_args()
    peaks = {}
    with tempfile.TemporaryDirectory() as scratch:
        for times in (1, 10):
            files = build(Path(scratch), chosen.megabytes, times)
            summary = curate_here(files, load("text"), None, f"{scratch}/root-{times}", engine=chosen.engine)
            peaks[times] = summary.peak_rss_bytes
            rate = times * chosen.megabytes / summary.seconds
            size = f"{times:>3}x {times * chosen.megabytes} MB, {summary.rows_in} rows"
            print(f"{size}: peak RSS {peaks[times] / 1e6:.0f} MB, {summary.seconds:.0f} s, {rate:.1f} MB/s", flush=True)
    print(f"10x over 1x: {peaks[10] / peaks[1]:.3f} (limit 1.15)")


if __name__ == "__main__":
    main()
