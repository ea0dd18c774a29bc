"""One measurement of the loader benchmark, a process: `_loader_run.py FOLDER LOADER WORKERS MODE SECONDS`.

MODE `write` converts the rows to the loader's own format with its own writer, `time` reads epochs until SECONDS are
over, `check` reads one epoch (at most SECONDS of it) and compares every row. Prints one JSON object. Runs under the
product's Python for `winnow…` and under the peers' for all others; each imports what it alone needs.
"""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from _loader_data import checksums, groups  # noqa: E402

BATCH = 64
Batches = Callable[[int], Iterable[Any]]  # epoch -> batches
Rows = Callable[[Any], tuple[list[int], list[str]]]  # a batch -> its ids and texts
Maker = Callable[[Path, int], tuple[Batches, Rows]]


def of_arrow(batch: Any) -> tuple[list[int], list[str]]:
    return batch["id"].to_pylist(), batch["text"].to_pylist()


def of_lists(batch: Any) -> tuple[list[int], list[str]]:
    return [int(i) for i in batch["id"]], list(batch["text"])


def as_lists(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """A collate function without tensors: what costs the peers least."""
    return {"id": [row["id"] for row in rows], "text": [row["text"] for row in rows]}


def as_it_is(batch: Any) -> Any:
    return batch


# --- Winnow --------------------------------------------------------------------------------------------------------


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
        cache_dir=str(folder / "winnow-copies") if copies else None,
        tail="short",
        packed=packed,
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
        for _ in stream.iter_batches():
            pass


def strings(batch: Any) -> dict[str, list[Any]]:
    return {"id": batch["id"].to_pylist(), "text": batch["text"].to_pylist()}


# --- LitData -------------------------------------------------------------------------------------------------------


def write_litdata(folder: Path) -> None:
    import litdata
    import pyarrow.parquet as pq

    num_groups = pq.ParquetFile(folder / "rows.parquet").num_row_groups
    litdata.optimize(
        fn=GroupRows(str(folder)),
        inputs=list(range(num_groups)),
        output_dir=str(folder / "litdata"),
        chunk_bytes="64MB",
        num_workers=1,
    )


class GroupRows:
    """The rows of one row group, as `optimize` wants them."""

    def __init__(self, folder: str):
        self.folder = folder

    def __call__(self, number: int) -> Iterator[dict[str, Any]]:
        import pyarrow.parquet as pq

        group = pq.ParquetFile(Path(self.folder) / "rows.parquet").read_row_group(number)
        for i, text in zip(group["id"].to_pylist(), group["text"].to_pylist(), strict=True):
            yield {"id": i, "text": text}


def litdata(folder: Path, workers: int, *, collate: bool) -> tuple[Batches, Rows]:
    import litdata

    options: dict[str, Any] = {"collate_fn": as_lists} if collate else {}
    if workers:
        options["persistent_workers"] = True
    data = litdata.StreamingDataset(str(folder / "litdata"), shuffle=True, drop_last=False)
    loader = litdata.StreamingDataLoader(data, batch_size=BATCH, num_workers=workers, **options)
    return lambda epoch: loader, of_lists


# --- MosaicML Streaming --------------------------------------------------------------------------------------------


def write_mosaic(folder: Path) -> None:
    _without_torchvision()
    from streaming import MDSWriter

    with MDSWriter(out=str(folder / "mosaic"), columns={"id": "int", "text": "str"}, size_limit=64 << 20) as sink:
        for batch in groups(folder):
            for i, text in zip(*of_arrow(batch), strict=True):
                sink.write({"id": i, "text": text})


def mosaic(folder: Path, workers: int, *, collate: bool) -> tuple[Batches, Rows]:
    _without_torchvision()
    from streaming import StreamingDataLoader, StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()
    data = StreamingDataset(local=str(folder / "mosaic"), shuffle=True, batch_size=BATCH, num_canonical_nodes=1)
    options: dict[str, Any] = {"collate_fn": as_lists} if collate else {}
    if workers:
        options["persistent_workers"] = True
    loader = StreamingDataLoader(data, batch_size=BATCH, num_workers=workers, **options)
    return lambda epoch: loader, of_lists


def _without_torchvision() -> None:
    """`streaming` imports torchvision for its image datasets; where that does not load, empty modules stand in."""
    try:
        import torchvision.transforms  # noqa: F401
    except Exception:
        import importlib.machinery
        import types

        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("", ".transforms", ".transforms.functional", ".datasets", ".datasets.vision", ".io"):
            module = types.ModuleType("torchvision" + name)
            module.__path__ = []
            module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
            for word in ("to_tensor", "transforms"):
                setattr(module, word, None)
            module.VisionDataset = object  # type: ignore[attr-defined]
            sys.modules[module.__name__] = module


# --- WebDataset ----------------------------------------------------------------------------------------------------


def write_webdataset(folder: Path) -> None:
    import webdataset

    (folder / "webdataset").mkdir(exist_ok=True)
    with webdataset.ShardWriter(
        str(folder / "webdataset" / "%05d.tar"), maxcount=20_000, maxsize=1 << 40, verbose=0
    ) as sink:
        for batch in groups(folder):
            for i, text in zip(*of_arrow(batch), strict=True):
                sink.write({"__key__": f"{i:08d}", "txt": text})


def webdataset(folder: Path, workers: int, *, decode: bool) -> tuple[Batches, Rows]:
    import webdataset

    urls = sorted(str(path) for path in (folder / "webdataset").glob("*.tar"))
    data = webdataset.WebDataset(urls, shardshuffle=100, empty_check=False).shuffle(1000)
    if decode:
        data = data.decode()
    data = data.to_tuple("__key__", "txt").batched(BATCH, collation_fn=tuple_of_lists)
    options = {"persistent_workers": True} if workers else {}
    loader = webdataset.WebLoader(data, batch_size=None, num_workers=workers, **options)
    return lambda epoch: loader, of_tuple


def tuple_of_lists(rows: list[tuple[str, Any]]) -> tuple[list[str], list[Any]]:
    return [key for key, _ in rows], [text for _, text in rows]


def of_tuple(batch: Any) -> tuple[list[int], list[str]]:
    return [int(key) for key in batch[0]], [t.decode() if isinstance(t, bytes) else t for t in batch[1]]


# --- Hugging Face datasets -----------------------------------------------------------------------------------------


def write_datasets(folder: Path) -> None:
    import datasets

    data = datasets.Dataset.from_parquet(str(folder / "rows.parquet"), cache_dir=str(folder / "datasets-cache"))
    data.save_to_disk(str(folder / "datasets"))


def datasets_iter(folder: Path, workers: int) -> tuple[Batches, Rows]:
    """`Dataset.shuffle(seed).with_format("arrow").iter(64)`: in the loop's own process only."""
    import datasets

    data = datasets.load_from_disk(str(folder / "datasets")).with_format("arrow")
    return lambda epoch: data.shuffle(seed=epoch, keep_in_memory=True).iter(BATCH), of_arrow


def datasets_strings(folder: Path, workers: int) -> tuple[Batches, Rows]:
    """The same, Arrow rows turned to strings in the loop."""
    batches, _ = datasets_iter(folder, workers)
    return lambda epoch: map(strings, batches(epoch)), of_lists


def datasets_flat(folder: Path, workers: int) -> tuple[Batches, Rows]:
    """`shuffle().flatten_indices()` written to disk beforehand: one shuffled order, read in sequence ever after."""
    import datasets

    path = folder / "datasets-flat"
    if not path.exists():
        data = datasets.load_from_disk(str(folder / "datasets")).shuffle(seed=1).flatten_indices()
        data.save_to_disk(str(path))
    data = datasets.load_from_disk(str(path)).with_format("arrow")
    return lambda epoch: data.iter(BATCH), of_arrow


def datasets_sampled(folder: Path, workers: int, *, arrow: bool) -> tuple[Batches, Rows]:
    """Map-style under a DataLoader with a batch sampler, as its guide for PyTorch advises."""
    import datasets
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler

    data = datasets.load_from_disk(str(folder / "datasets"))
    if arrow:
        data = data.with_format("arrow")
    sampler = BatchSampler(RandomSampler(data), BATCH, drop_last=False)  # type: ignore[arg-type]
    options = {"persistent_workers": True} if workers else {}
    loader = DataLoader(
        data,  # type: ignore[arg-type]
        sampler=sampler,
        batch_size=None,
        num_workers=workers,
        collate_fn=as_it_is,
        **options,  # type: ignore[arg-type]
    )
    return lambda epoch: loader, of_arrow if arrow else of_lists


def datasets_iterable(folder: Path, workers: int) -> tuple[Batches, Rows]:
    """`to_iterable_dataset(num_shards=128).shuffle(buffer_size=1000)`: its fast approximate shuffle."""
    import datasets
    from torch.utils.data import DataLoader

    data = datasets.load_from_disk(str(folder / "datasets")).to_iterable_dataset(num_shards=128)
    data = data.shuffle(seed=1, buffer_size=1000).batch(BATCH)
    options = {"persistent_workers": True} if workers else {}
    loader = DataLoader(data, batch_size=None, num_workers=workers, collate_fn=as_it_is, **options)  # type: ignore[arg-type]
    return lambda epoch: loader, of_lists


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


def timed(batches: Batches, rows: Rows, seconds: float) -> dict[str, Any]:
    """Epochs, the starts of workers included, until the time is over."""
    for batch in batches(0):  # imports, files and workers are there before the clock starts
        width = len(rows(batch)[0])
        break
    began, busy, count, first = time.perf_counter(), time.process_time(), 0, None
    for epoch in range(1, 1000):
        for batch in batches(epoch):
            read_through(batch)
            count += 1
            if first is None:
                first = time.perf_counter() - began
            if time.perf_counter() - began > seconds:
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
        print(json.dumps(timed(batches, rows, float(seconds))))
    else:
        print(json.dumps(checked(batches, rows, float(seconds), checksums(folder))))


if __name__ == "__main__":
    main()
