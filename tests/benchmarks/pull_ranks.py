"""64 simulated ranks pull epochs from one server, each over HTTP into a cache of its own: errors, order, server memory.

    python tests/benchmarks/pull_ranks.py [--ranks 64] [--rows 60000] [--epochs 3]

Every rank keeps the rows it was given; laid side by side they must be the epoch as one process reads it from the root.
The server's resident memory is read from /proc twice a second: after the first epoch it should no longer grow.
Traffic stays on loopback, and everything ends after `--limit-s` seconds at the latest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from _loader_http import served, shelved  # noqa: E402

from curator import Manifest, ShardStream  # noqa: E402
from curator.client.sources import HttpSource  # noqa: E402
from curator.difficulty import terciles  # noqa: E402
from curator.shards import ShardWriter, write_index  # noqa: E402
from curator.storage import Store  # noqa: E402

BATCH = 512
TEXT_BYTES = 1024
PROCESSES = 4
"""That the ranks are spread over, as threads."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=64)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--limit-s", type=float, default=300.0)
    parser.add_argument("--pull", nargs=5, metavar=("URL", "MANIFEST", "EPOCH", "FIRST", "OUT"), help="used by itself")
    chosen = parser.parse_args()
    if chosen.pull:
        url, manifest, epoch, first, out = chosen.pull
        return _pull(url, manifest, epoch, first, out, chosen.ranks)
    with tempfile.TemporaryDirectory(prefix="winnow-ranks-") as folder:
        return _run(Path(folder), chosen)


def _run(folder: Path, chosen: argparse.Namespace) -> int:
    root, manifest = folder / "root", written(folder / "root", chosen.rows)
    num_bytes = sum(info.bytes for info in manifest.shards)
    shelved(root, manifest)
    print(f"{chosen.rows:,} rows, {num_bytes / 1e6:.0f} MB in {len(manifest.shards)} shards, {chosen.ranks} ranks")
    wrong = 0
    with served(root) as (url, process), Memory(process) as memory:
        for epoch in range(chosen.epochs):
            began = time.perf_counter()
            failed = _epoch(url, manifest.id, epoch, chosen.ranks, folder / "out", chosen.limit_s)
            took = time.perf_counter() - began
            right = not failed and _equal(root, manifest, epoch, chosen.ranks, folder / "out")
            wrong += not right
            print(
                f"epoch {epoch}: {took:.1f} s, {chosen.ranks * num_bytes / took / 1e6:,.0f} MB/s at most from the "
                f"server, {'rows and order right' if right else f'WRONG, {failed} processes failed'}; server "
                f"{memory.now / 2**20:.0f} MiB, at most {memory.highest / 2**20:.0f}",
                flush=True,
            )
    return 1 if wrong else 0


def written(root: Path, num_rows: int) -> Manifest:
    """Rows of random text under a root, in shards of about 8 MB."""
    draw, store = np.random.default_rng(0), Store.open(root)
    ids = pa.array([draw.bytes(16) for _ in range(num_rows)], pa.binary(16))
    texts = [draw.bytes(TEXT_BYTES // 2).hex() for _ in range(num_rows)]
    rows = pa.record_batch({"number": pa.array(range(num_rows)), "text": texts, "sample_id": ids})
    writer = ShardWriter(store, rows.schema, target_bytes=8 << 20)
    writer.write(rows)
    codes, first, done = terciles(draw.random(num_rows, dtype=np.float32), pa.chunked_array([ids])), 0, []
    for info in writer.close():
        part = slice(first, first + info.rows)
        done.append(info.with_index(*write_index(store, codes[part], np.ones(info.rows, dtype=bool), ids[part])))
        first += info.rows
    manifest = Manifest.of(writer.schema, done)
    manifest.save(store)
    return manifest


def _epoch(url: str, manifest: str, epoch: int, ranks: int, out: Path, limit_s: float) -> int:
    """Starts the processes and waits; how many failed."""
    out.mkdir(exist_ok=True)
    command = [sys.executable, __file__, "--ranks", str(ranks), "--pull", url, manifest, str(epoch)]
    running = [subprocess.Popen([*command, str(first), str(out)]) for first in range(PROCESSES)]
    deadline, failed = time.monotonic() + limit_s, 0
    for one in running:
        try:
            failed += one.wait(max(deadline - time.monotonic(), 1)) != 0
        except subprocess.TimeoutExpired:
            one.kill()
            failed += 1
    return failed


def _pull(url: str, manifest: str, epoch: str, first: str, out: str, ranks: int) -> int:
    """One process: every PROCESSES-th rank from `first` on, each in a thread with its own connections and cache."""

    def rank_of(rank: int) -> None:
        with tempfile.TemporaryDirectory(prefix="cache-", dir=out) as cache:
            stream = _stream(HttpSource(url, cache_dir=cache), manifest, rank, ranks)
            stream.set_epoch(int(epoch))
            np.save(Path(out) / f"{rank}.npy", [batch["number"].to_numpy() for batch in stream])

    mine = range(int(first), ranks, PROCESSES)
    with ThreadPoolExecutor(len(mine)) as pool:
        list(pool.map(rank_of, mine))
    return 0


def _stream(source: HttpSource | str, manifest: str, rank: int, ranks: int) -> ShardStream:
    return ShardStream(source, manifest, columns=["number"], global_batch_size=BATCH, rank=rank, world_size=ranks)


def _equal(root: Path, manifest: Manifest, epoch: int, ranks: int, out: Path) -> bool:
    """Whether the ranks' rows, side by side, are the epoch read by one."""
    whole = _stream(str(root), manifest.id, 0, 1)
    whole.set_epoch(epoch)
    expected = np.array([batch["number"].to_numpy() for batch in whole])
    found = np.concatenate([np.load(out / f"{rank}.npy") for rank in range(ranks)], axis=1)
    return np.array_equal(found, expected) and len(np.unique(found)) == found.size


class Memory:
    """Resident bytes of a process, watched while the block runs."""

    def __init__(self, process: int):
        self._process, self._ended = process, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.highest = 0

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def now(self) -> int:
        pages = int(Path(f"/proc/{self._process}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            self.highest = max(self.highest, self.now)


if __name__ == "__main__":
    sys.exit(main())
