"""The loaders other people use, each in the settings its documentation recommends and in what costs it least.

For each: a writer to its own format, and a maker of (epoch -> batches, batch -> its ids and texts). Imports what a
loader needs where it is asked for: this runs under the peers' Python.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from _loader_data import groups

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


def strings(batch: Any) -> dict[str, list[Any]]:
    return {"id": batch["id"].to_pylist(), "text": batch["text"].to_pylist()}


def as_it_is(batch: Any) -> Any:
    return batch


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
