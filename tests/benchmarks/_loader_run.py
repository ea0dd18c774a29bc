"""One measurement of the loader benchmark, a process: `_loader_run.py FOLDER LOADER WORKERS MODE SECONDS [WARM]`.

MODE `write` converts the rows to the loader's own format with its own writer, `time` reads an epoch, at most WARM
seconds of it, and then times whole epochs until SECONDS are over, `check` reads one epoch (at most SECONDS of it) and
compares every row. Prints one JSON object. Runs under the product's Python for `winnow…` and under the peers' for all
others; each imports what it alone needs. CLIENT_BYTES in the environment bounds what ours may keep of the set on disk.
"""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from _loader_data import checksums, groups  # noqa: E402
from _loader_peers import (  # noqa: E402
    Batches,
    Maker,
    Rows,
    datasets_flat,
    datasets_iter,
    datasets_iterable,
    datasets_sampled,
    datasets_strings,
    litdata,
    mosaic,
    of_arrow,
    of_lists,
    strings,
    webdataset,
    write_datasets,
    write_litdata,
    write_mosaic,
    write_webdataset,
)


def write_winnow(folder: Path) -> None:
    import hashlib

    import numpy as np
    import pyarrow as pa

    from curator.difficulty import terciles
    from curator.shards import Manifest, ShardWriter, write_index
    from curator.storage import Store

    store, writer, ids = Store.open(folder / "winnow"), None, []
    for batch in groups(folder):
        names = [hashlib.md5(str(i).encode(), usedforsecurity=False).digest() for i in batch["id"].to_pylist()]
        ids.append(pa.array(names, pa.binary(16)))
        batch = batch.append_column("sample_id", ids[-1])
        writer = writer or ShardWriter(store, batch.schema)
        writer.write(batch)
    assert writer is not None
    infos, all_ids = writer.close(), pa.concat_arrays(ids)
    scores = np.random.default_rng(0).random(len(all_ids), dtype=np.float32)
    codes, first, done = terciles(scores, pa.chunked_array([all_ids])), 0, []
    for info in infos:
        part = slice(first, first + info.rows)
        live = np.ones(info.rows, dtype=bool)
        done.append(info.with_index(*write_index(store, codes[part], live, all_ids[part])))
        first += info.rows
    manifest = Manifest.of(writer.schema, done)
    manifest.save(store)
    (folder / "winnow" / "manifest").write_text(manifest.id)


def winnow(
    folder: Path, workers: int, *, copies: bool, lists: bool, packed: bool = False, every_row: bool = False
) -> tuple[Batches, Rows]:
    """The middle epochs (0.2/0.5/0.3), so that all three difficulties are mixed."""
    from curator import Manifest, ShardStream
    from curator.storage import Store

    if workers:
        from torch.utils.data import DataLoader  # before the stream is made
    manifest = Manifest.load(Store.open(folder / "winnow"), (folder / "winnow" / "manifest").read_text())
    live = manifest.live
    stream = ShardStream(
        str(folder / "winnow"),
        manifest,
        columns=["id", "text"],
        curriculum=dict(zip(("kind", "easy", "medium", "hard"), ("constant", *live), strict=True))
        if every_row
        else "staged",
        tail="short",
        packed=packed,
        **_kept(folder, copies, packed),
    )
    num_epochs = 4
    if packed:
        num_epochs = 2
        _pack(stream, folder, [0] if every_row else [3, 4])
    loader: Any = None
    if workers:
        loader = DataLoader(stream, batch_size=None, num_workers=workers, persistent_workers=True)  # type: ignore[arg-type]

    def batches(epoch: int) -> Iterable[Any]:
        stream.set_epoch(0 if every_row else 3 + epoch % num_epochs)
        source: Iterable[Any] = loader if workers else stream
        return map(strings, source) if lists else source

    return batches, of_lists if lists else of_arrow


def _kept(folder: Path, copies: bool, packed: bool) -> dict[str, Any]:
    """What the stream may keep, within CLIENT_BYTES: a scratch, or three quarters copies and a quarter scratch."""
    most = int(os.environ.get("CLIENT_BYTES", 0))
    if not most:
        return {"cache_dir": str(folder / "winnow-copies")} if copies else {}
    if not copies:
        return {"scratch_bytes": most}
    kept = {"scratch_bytes": most // 4, "cache_limit_bytes": most * 3 // 4}
    return {**kept, "cache_dir": str(folder / f"winnow-copies-{most}{'-packed' if packed else ''}")}


def _pack(stream: Any, folder: Path, epochs: list[int]) -> None:
    """Packs what is not packed yet, tells what it took, and makes the copies."""
    from curator.client.packing import Pack, pack
    from curator.errors import NotFoundError
    from curator.shards import ShardReader
    from curator.storage import Store

    store = Store.open(folder / "winnow")
    for epoch in epochs:
        try:
            Pack.load(store, stream.plan, epoch)
        except NotFoundError:
            began = time.perf_counter()
            pack(stream.plan, stream.manifest, ShardReader(store), store, epoch)
            rows = stream.plan.num_positions(epoch)
            print(f"packed epoch {epoch}: {rows / (time.perf_counter() - began):,.0f} rows/s", file=sys.stderr)
        stream.set_epoch(epoch)
        deque(stream.iter_batches(), maxlen=0)


WRITERS: dict[str, Callable[[Path], None]] = {
    "winnow": write_winnow,
    "litdata": write_litdata,
    "mosaic": write_mosaic,
    "webdataset": write_webdataset,
    "datasets": write_datasets,
}
LOADERS: dict[str, Maker] = {
    "winnow, Arrow": lambda f, w: winnow(f, w, copies=False, lists=False),
    "winnow, str": lambda f, w: winnow(f, w, copies=False, lists=True),
    "winnow + copies, Arrow": lambda f, w: winnow(f, w, copies=True, lists=False),
    "winnow + copies, str": lambda f, w: winnow(f, w, copies=True, lists=True),
    "winnow + copies, packed, Arrow": lambda f, w: winnow(f, w, copies=True, lists=False, packed=True),
    "winnow + copies, packed, str": lambda f, w: winnow(f, w, copies=True, lists=True, packed=True),
    "litdata, str": lambda f, w: litdata(f, w, collate=True),
    "litdata, default collate": lambda f, w: litdata(f, w, collate=False),
    "mosaic, str": lambda f, w: mosaic(f, w, collate=True),
    "mosaic, default collate": lambda f, w: mosaic(f, w, collate=False),
    "webdataset, bytes": lambda f, w: webdataset(f, w, decode=False),
    "webdataset, str": lambda f, w: webdataset(f, w, decode=True),
    "datasets iter, Arrow": datasets_iter,
    "datasets iter, str": datasets_strings,
    "datasets iter, packed, Arrow": datasets_flat,
    "datasets batch sampler, Arrow": lambda f, w: datasets_sampled(f, w, arrow=True),
    "datasets batch sampler, str": lambda f, w: datasets_sampled(f, w, arrow=False),
    "datasets iterable, str": datasets_iterable,
}


MOST = 2
"""A loader does much of an epoch's work before its first batch: a part of an epoch would tell of that alone."""


def read_through(batch: Any) -> None:
    """Touches every byte of a batch's Arrow text; Python strings were read when they were made.

    Without it, a loader that hands out pointers to rows on disk would be timed for reading nothing.
    """
    text = batch["text"] if not isinstance(batch, dict | tuple | list) else None
    if text is None or isinstance(text, list):
        return
    import numpy as np

    if hasattr(text, "combine_chunks"):
        text = text.combine_chunks()
    _, ends, data = text.buffers()
    edges = np.frombuffer(ends, dtype=np.int32, count=len(text) + 1, offset=4 * text.offset)
    np.frombuffer(data, dtype=np.uint8)[edges[0] : edges[-1]].max()


def timed(batches: Batches, rows: Rows, seconds: float, warm: float) -> dict[str, Any]:
    """Whole epochs, their starts included, until the time is over; a part of one where it takes MOST times as long."""
    began, width = time.perf_counter(), 0
    for batch in batches(0):  # imports, files, workers and what is kept are there before the clock starts
        width = width or len(rows(batch)[0])
        read_through(batch)
        if time.perf_counter() - began > warm:
            break
    began, busy, count, first = time.perf_counter(), time.process_time(), 0, None
    for epoch in range(1, 1000):
        for batch in batches(epoch):
            read_through(batch)
            count += 1
            if first is None:
                first = time.perf_counter() - began
            if time.perf_counter() - began > MOST * seconds:
                break
        if time.perf_counter() - began > seconds:
            break
    elapsed = time.perf_counter() - began
    return {
        "rows_per_s": count * width / elapsed,
        "first_batch_s": first,
        "loop_cpu_share": (time.process_time() - busy) / elapsed,
        "load": os.getloadavg()[0],
    }


def checked(batches: Batches, rows: Rows, seconds: float, sums: Any) -> dict[str, Any]:
    """How many rows came, and what is wrong with them."""
    seen, wrong, twice, whole = set(), 0, 0, True
    began = time.perf_counter()
    for batch in batches(0):
        for i, text in zip(*rows(batch), strict=True):
            wrong += zlib.crc32(text.encode()) != int(sums[i])
            twice += i in seen
            seen.add(i)
        if time.perf_counter() - began > seconds:
            whole = False
            break
    return {"rows": len(seen), "of": len(sums), "wrong": wrong, "twice": twice, "whole": whole}


def main() -> None:
    folder, loader, workers, mode, seconds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]
    warm = float(sys.argv[6]) if len(sys.argv) > 6 else 0.0
    if mode == "write":
        began = time.perf_counter()
        WRITERS[loader](folder)
        print(json.dumps({"seconds": time.perf_counter() - began}))
        return
    import torch

    torch.set_num_threads(1)
    batches, rows = LOADERS[loader](folder, workers)
    if mode == "check" and loader.startswith("winnow"):
        kinds = {"copies": "copies" in loader, "lists": "str" in loader, "packed": "packed" in loader}
        batches, rows = winnow(folder, workers, **kinds, every_row=True)
    if mode == "time":
        print(json.dumps(timed(batches, rows, float(seconds), warm)))
    else:
        print(json.dumps(checked(batches, rows, float(seconds), checksums(folder))))


if __name__ == "__main__":
    main()
