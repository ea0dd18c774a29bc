"""Epoch plans by formula beside numpy's full permutation, and opening the manifest of a billion rows.

    python tests/benchmarks/epoch_plan.py [--repeats 15] [--skip-permutation]

Limits: 65,536 positions in the middle of an epoch over 100M rows in 10 ms, over 10B rows in 15 ms, in memory that does
not grow with the rows; a manifest of 1B rows in 15,000 shards opens in 1 s. numpy permutes the 100M rows once and
reads the same 65,536 positions from that: its memory and its seconds are for the whole epoch, which it needs first.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from curator.epochs.plan import EpochPlan
from curator.epochs.shuffle import Shuffle
from curator.shards.manifest import Column, Manifest, ShardInfo
from curator.shards.writer import TARGET_BYTES

POSITIONS = 65_536
LIMITS_MS = {100_000_000: 10.0, 10_000_000_000: 15.0}
SHUFFLES: tuple[Shuffle, ...] = ("full", "window", "none")
NUM_SHARDS = 15_000
SHARD_ROWS = 66_667
LIMIT_OPEN_S = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--skip-permutation", action="store_true", help="it takes 800 MB and many seconds")
    chosen = parser.parse_args()
    print(f"{POSITIONS} positions in the middle of an epoch, batch 256: median (lowest) of {chosen.repeats}")
    for num_rows, limit_ms in LIMITS_MS.items():
        for shuffle in SHUFFLES:
            middle, low, peak = positions(num_rows, shuffle, chosen.repeats)
            print(
                f"  {num_rows:>14,} rows, {shuffle:<7}{middle:7.2f} ms ({low:.2f}), peak {peak / 2**20:.1f} MiB; "
                f"limit {limit_ms:.0f} ms: {'met' if low <= limit_ms else 'MISSED'}",
                flush=True,
            )
    if not chosen.skip_permutation:
        seconds, size = permutation(100_000_000)
        print(f"  {100_000_000:>14,} rows, numpy's whole permutation: {seconds:.1f} s, {size / 2**20:,.0f} MiB")
    opening(min(chosen.repeats, 5))


def positions(num_rows: int, shuffle: Shuffle, repeats: int) -> tuple[float, float, int]:
    """(median, lowest) milliseconds and the peak of memory in bytes."""
    live = (num_rows - 2 * (num_rows // 3), num_rows // 3, num_rows // 3)
    plan = EpochPlan(manifest="man_x", live=live, global_batch_size=256, shuffle=shuffle)
    start = plan.num_positions(5) // 2

    def call() -> None:
        plan.positions(5, start, start + POSITIONS)

    call()
    times = timed(call, repeats)
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return 1e3 * statistics.median(times), 1e3 * min(times), peak


def permutation(num_rows: int) -> tuple[float, int]:
    """Seconds and bytes of the whole permutation."""
    began = time.perf_counter()
    order = np.random.default_rng(0).permutation(num_rows)
    order[num_rows // 2 : num_rows // 2 + POSITIONS].sum()
    return time.perf_counter() - began, order.nbytes


def opening(repeats: int) -> None:
    text, name = billion_rows()
    times = timed(lambda: Manifest.parse(text, name), repeats)
    print(
        f"a manifest of {NUM_SHARDS * SHARD_ROWS:,} rows in {NUM_SHARDS:,} shards, {len(text) / 2**20:.0f} MiB, "
        f"opens in {statistics.median(times):.2f} s ({min(times):.2f}), its id checked; limit {LIMIT_OPEN_S:.0f} s: "
        f"{'met' if min(times) <= LIMIT_OPEN_S else 'MISSED'}"
    )


def billion_rows() -> tuple[bytes, str]:
    """A manifest's JSON as it lies on disk, and its id."""
    draw, batches = np.random.default_rng(0), -(-SHARD_ROWS // 4096)
    shards = []
    for _ in range(NUM_SHARDS):
        easy, medium = draw.integers(20_000, 23_000, 2).tolist()
        shards.append(
            ShardInfo(
                digest=draw.bytes(32).hex(),
                rows=SHARD_ROWS,
                bytes=TARGET_BYTES,
                batch_offsets=tuple(np.sort(draw.integers(400, TARGET_BYTES, batches + 1)).tolist()),
                batch_checksums=tuple(draw.integers(0, 2**32, batches).tolist()),
                frame_checksum=int(draw.integers(0, 2**32)),
                index=draw.bytes(32).hex(),
                live=(easy, medium, SHARD_ROWS - easy - medium),
            )
        )
    columns = (Column(name="text", type="string"), Column(name="sample_id", type="fixed_size_binary[16]"))
    manifest = Manifest(columns=columns, shards=tuple(shards))
    return manifest.model_dump_json(indent=1).encode() + b"\n", manifest.id


def timed(call: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each call."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times


if __name__ == "__main__":
    main()
