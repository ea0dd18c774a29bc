"""The stream a training job reads: one rank's rows of every global batch, epoch after epoch, resumable anywhere.

Runs without torch; where torch is loaded, `ShardStream(...)` is also an `IterableDataset` (`torch_stream.py`). Knows
plans, sources and cursors; what rows mean is the training job's.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from curator.client.packing import Pack, unpack
from curator.client.ranks import detected
from curator.client.scratch import SCRATCH_BYTES, Scratch
from curator.client.shared import Lender
from curator.client.sources import HttpSource, open_source
from curator.client.stream_cache import StreamCache
from curator.client.windows import AHEAD, Chunk, Share, gather
from curator.epochs.adaptive import Adaptive, Losses
from curator.epochs.curriculum import AnyCurriculum
from curator.epochs.journal import Journal
from curator.epochs.plan import EpochPlan, Tail, rank_slice
from curator.epochs.shuffle import Shuffle
from curator.errors import ConflictError, RequestError, WinnowError
from curator.shards.manifest import Manifest
from curator.shards.reader import ShardReader
from curator.storage import Store

__all__ = ["ShardStream", "Worker", "pull"]

STATE_VERSION = 1
_POSITION = b"winnow.position"
_EPOCH = b"winnow.epoch"


class Drafted(Protocol):
    """Rows of some batches that are still to be put together."""

    def chunk(self) -> Chunk:
        """The rows in order; may run in another thread."""


class Worker(NamedTuple):
    """Which of `total` DataLoader workers this is; `sends` when its batches go to another process."""

    number: int
    total: int
    sends: bool


class ShardStream:
    """Yields a `pyarrow.RecordBatch` per global batch: this rank's slice of it.

    Columns are the data's, `label_before` where labels were curated, `sample_id`, and `difficulty` (easy, medium,
    hard; null for a slot that tail="pad" filled by repeating a row: mask it).

    source: a root directory or object-store URL, a Store, or a Client. manifest: an id, a Manifest, or an alias
    (`latest`, `prod`) as it stands now (`adopt` follows it later; a loaded state keeps the manifest it belongs to).
    rank and world_size: from torch.distributed or RANK and WORLD_SIZE when not given, else 0 of 1. columns: those
    wanted, all when None. transform: applied to each batch, in the worker where there are workers. cache_dir: for
    copies of remote shards, and of all shards uncompressed (some three times their size): epochs after the first are
    then only mapped, not decoded. cache_limit_bytes: the most cache_dir may hold; shards whose copies have no room are
    decoded. scratch_bytes: the most that decoded record batches may take in a temporary folder, which the stream
    shares with its workers and removes at its end; 0 for none. packed: read epochs that `packing.pack` wrote, in
    sequence. The order depends on the plan alone: not on world_size, workers or resumptions.

    Raises RequestError on a request that cannot be met, NotFoundError, IntegrityError naming shard and offset,
    TransportError when a server stays silent.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> ShardStream:
        if cls is ShardStream and "torch.utils.data" in sys.modules:
            from curator.client.torch_stream import TorchShardStream

            return super().__new__(TorchShardStream)
        return super().__new__(cls)

    def __init__(
        self,
        source: Any,
        manifest: str | Manifest,
        *,
        curriculum: AnyCurriculum | Adaptive = "staged",
        num_epochs: int = 10,
        seed: int = 0,
        global_batch_size: int = 64,
        epoch_size: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        columns: Sequence[str] | None = None,
        shuffle: Shuffle = "window",
        tail: Tail = "drop",
        transform: Callable[[pa.RecordBatch], Any] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_limit_bytes: int | None = None,
        scratch_bytes: int = SCRATCH_BYTES,
        packed: bool = False,
    ):
        self._source = open_source(source, cache_dir, cache_limit_bytes)
        self._kept = StreamCache(cache_dir, cache_limit_bytes, Scratch.of_size(scratch_bytes))
        self.manifest = self._kept.manifest(self._source, manifest)
        self._by_alias = isinstance(manifest, str) and manifest != self.manifest.id
        self.plan = EpochPlan.of(
            self.manifest,
            curriculum=curriculum,
            num_epochs=num_epochs,
            seed=seed,
            global_batch_size=global_batch_size,
            epoch_size=epoch_size,
            shuffle=shuffle,
            tail=tail,
        )
        self.rank, self.world_size = detected(rank, world_size)
        self._slice = rank_slice(global_batch_size, self.rank, self.world_size)
        self._columns, self._transform, self._packed = columns, transform, packed
        self._journal = Journal.begin(self.plan) if isinstance(self.plan.curriculum, Adaptive) else None
        self._cursor = self._new_cursor()
        self._num_adopted = 0
        self._done: int | None = None
        self._reader: tuple[int, ShardReader] | None = None

    @property
    def epoch(self) -> int:
        return int(self._cursor[0])

    def set_epoch(self, epoch: int) -> None:
        """Goes to the start of another epoch; setting the present one again keeps a loaded position.

        Raises RequestError when the plan has no such epoch.
        """
        self.plan.ratios(epoch)
        if epoch != self.epoch:
            self._cursor[0], self._cursor[1] = epoch, 0
        self._cursor[2], self._done = 0, None

    def record(self, losses: Losses) -> None:
        """Tells an adaptive curriculum what the last decided epoch reported; the next epoch's ratios follow from it.

        Every rank records the same numbers, between epochs: DataLoader workers that persist do not hear of it, and
        refuse the new epoch. Raises RequestError for another curriculum or when no epoch is left.
        """
        if self._journal is None:
            raise RequestError(f"a {self.plan.curriculum.kind} curriculum takes no losses; give curriculum='adaptive'")
        self._use(self._journal.after(self.plan, losses))

    def adopt(self, manifest: str | Manifest) -> bool:
        """Follows another manifest from the next epoch on: an id, or what an alias points at now. False when it is the
        one followed already.

        Every rank adopts the same id, between epochs; DataLoader workers that persist refuse to go on. It is another
        plan: no row repeats within the new manifest, the old one's do not count. Raises ConflictError inside an epoch,
        RequestError with an adaptive curriculum, whose journal is its manifest's.
        """
        found = self._kept.manifest(self._source, manifest)
        if found.id == self.manifest.id:
            return False
        done = self._done if self._done is not None else int(self._cursor[1])
        if done not in (0, self.plan.num_positions(self.epoch)):
            raise ConflictError(
                f"epoch {self.epoch} stands at position {done}: a new manifest is adopted between epochs, as its "
                "positions are other rows. Finish the epoch, or set the next one, first."
            )
        self._follow(found)
        return True

    def _follow(self, manifest: Manifest) -> None:
        if self._journal is not None:
            raise RequestError("an adaptive curriculum's journal belongs to its manifest; make another stream")
        kept = ("curriculum", "num_epochs", "seed", "global_batch_size", "epoch_size", "shuffle", "tail")
        self.plan = EpochPlan.of(manifest, **{name: getattr(self.plan, name) for name in kept})
        self.manifest, self._done = manifest, None
        self._kept, self._reader = self._kept.anew(), None
        self._cursor[1], self._cursor[2] = 0, 0
        self._num_adopted += 1
        self._cursor[3] = self._num_adopted

    def _use(self, journal: Journal) -> None:
        self._journal, self.plan = journal, journal.on(self.plan)

    def state_dict(self, *, samples: int | None = None) -> dict[str, Any]:
        """The cursor: {version, plan, manifest, epoch, samples}; samples counts the whole job's, over all ranks, this
        epoch. With an adaptive curriculum also its journal.

        samples: needed when batches are read in DataLoader workers, which run ahead of the loop: `position(batch)`
        of the last batch used. Without it, this object's own iteration counts. Raises RequestError when it is needed.
        """
        if samples is None and self._cursor[2]:
            raise RequestError(
                "batches were read in DataLoader workers, which run ahead, so how many were used is not known here: "
                "give state_dict(samples=ShardStream.position(last_batch))"
            )
        done = samples if samples is not None else self._done if self._done is not None else int(self._cursor[1])
        state = {"version": STATE_VERSION, "plan": self.plan.id, "manifest": self.manifest.id}
        state |= {"epoch": self.epoch, "samples": int(done)}
        return state if self._journal is None else {**state, "journal": self._journal.model_dump(mode="json")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to a cursor: every later iteration of that epoch starts there.

        Raises ConflictError when it belongs to another plan or stands inside a global batch, IntegrityError when its
        journal does not add up.
        """
        if state.get("version") != STATE_VERSION:
            raise ConflictError(f"state version {state.get('version')!r}; this program knows {STATE_VERSION}")
        if self._by_alias and state["manifest"] != self.manifest.id:
            self._follow(self._kept.manifest(self._source, state["manifest"]))  # the alias has moved since
        if state["plan"] != self.plan.id:
            raise ConflictError(
                f"the state is a cursor of {state['plan']}, this stream follows {self.plan.id}: another manifest, "
                "curriculum, seed, batch size or shuffle. Its position means nothing here; make the stream as it was."
            )
        if self._journal is not None:
            self._use(Journal.model_validate(state["journal"]).replay(self.plan))
        epoch, samples = int(state["epoch"]), int(state["samples"])
        length = self.plan.num_positions(epoch)
        if not 0 <= samples <= length or (samples % self.plan.global_batch_size and samples != length):
            raise ConflictError(f"{samples} samples is no end of a global batch in epoch {epoch} of {length}")
        self._cursor[0], self._cursor[1], self._cursor[2] = epoch, samples, 0
        self._done = None

    @staticmethod
    def position(batch: pa.RecordBatch) -> int:
        """Samples of the epoch consumed, over all ranks, once this batch is."""
        return int((batch.schema.metadata or {})[_POSITION])

    def __len__(self) -> int:
        """Batches in the whole present epoch."""
        return self.plan.num_batches(self.epoch)

    def __iter__(self) -> Iterator[Any]:
        if self._transform is None:
            return self.iter_batches()
        return map(self._transform, self.iter_batches())

    def __getitem__(self, index: int) -> Any:
        raise TypeError(
            "a ShardStream is read in order, not by index. For a DataLoader, import torch before making the stream, "
            "and give batch_size=None."
        )

    def iter_batches(self) -> Iterator[pa.RecordBatch]:
        """This rank's slice of each global batch of the epoch, from the loaded position on.

        Each batch's schema metadata tells `winnow.epoch` and `winnow.position`.
        """
        if int(self._cursor[3]) != self._num_adopted:
            raise ConflictError("a manifest was adopted after this DataLoader worker began; make the DataLoader anew")
        epoch, samples = self.epoch, int(self._cursor[1])
        worker = self._worker()
        size, length = self.plan.global_batch_size, self.plan.num_positions(epoch)
        low, high = self._slice
        share = Share(low, high, -(-samples // size) + worker.number, worker.total)
        self._done = samples
        if worker.sends:
            self._cursor[2] = 1
        lender = Lender() if worker.sends else None
        try:
            for chunk in _ahead(self._drafts(epoch, share)):
                shared = None if lender is None else lender.share(chunk.rows)
                known = {**(chunk.rows.schema.metadata or {}), _EPOCH: b"%d" % epoch}
                for number, first, rows in _cut(chunk):
                    position = min((number + 1) * size, length)
                    self._done = position
                    batch = rows.replace_schema_metadata({**known, _POSITION: b"%d" % position})
                    yield batch if lender is None or shared is None else lender.lend(batch, shared, first)
        except WinnowError as error:
            told = f"Epoch {epoch} stops at position {self._done}: what came before was handed out, nothing after it."
            error.args = (f"{error} {told}",)
            raise

    def _drafts(self, epoch: int, share: Share) -> Iterator[Drafted]:
        """Gathered from the manifest's shards, or, where the epoch is packed, read in sequence."""
        if not self._packed:
            return gather(self.plan, self.manifest, self._rows(), epoch, share, self._columns)
        if isinstance(self._source, HttpSource):
            text, place = self._source.pack(self.plan.id, epoch)
            record = Pack.parse(text, self.plan, epoch, place)
        elif isinstance(store := getattr(self._source, "store", None), Store):
            record = Pack.load(store, self.plan, epoch)
        else:
            raise RequestError(f"packed=True reads from a root or a server, not from a {type(self._source).__name__}")
        packed = self._source.manifest(record.manifest)
        return unpack(record, packed, self.plan, self._rows(), share, self._columns)

    def _rows(self) -> ShardReader:
        """One reader a process: a forked worker must not share its parent's locks."""
        if self._reader is None or self._reader[0] != os.getpid():
            worker, columns = self._worker(), None if self._packed else self._columns
            reader = self._kept.reader(self._source, columns, (worker.number, worker.total))
            self._reader = (os.getpid(), reader)
        return self._reader[1]

    def _worker(self) -> Worker:
        return Worker(0, 1, sends=False)

    def _new_cursor(self) -> Any:
        """[epoch, samples consumed, whether workers have read on from there, manifests adopted]."""
        return [0, 0, 0, 0]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None}


def pull(
    source: Any,
    manifest: str | Manifest,
    epoch: int,
    *,
    num_epochs: int = 10,
    curriculum: AnyCurriculum = "staged",
    seed: int = 0,
    global_batch_size: int = 64,
    epoch_size: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    columns: Sequence[str] | None = None,
    shuffle: Shuffle = "window",
    tail: Tail = "drop",
    from_position: int = 0,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_limit_bytes: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """A rank's rows of an epoch in order, thousands at a time, columns as a ShardStream's.

    from_position: skips rows before this position of the epoch (counted over all ranks); any number, not only ends of
    batches. Raises as ShardStream, at once for a wrong request.
    """
    opened, kept = open_source(source, cache_dir, cache_limit_bytes), StreamCache(cache_dir, cache_limit_bytes)
    content = kept.manifest(opened, manifest)
    plan = EpochPlan.of(
        content,
        curriculum=curriculum,
        num_epochs=num_epochs,
        seed=seed,
        global_batch_size=global_batch_size,
        epoch_size=epoch_size,
        shuffle=shuffle,
        tail=tail,
    )
    low, high = rank_slice(global_batch_size, rank, world_size)
    length = plan.num_positions(epoch)
    if not 0 <= from_position <= length:
        raise RequestError(f"position {from_position} is not within 0 to {length}, epoch {epoch}'s length")
    share = Share(low, high, from_position // global_batch_size)
    chunks = _ahead(gather(plan, content, kept.reader(opened, columns), epoch, share, columns))
    return _from_position(chunks, plan, epoch, share, from_position)


def _from_position(
    chunks: Iterator[Chunk], plan: EpochPlan, epoch: int, share: Share, position: int
) -> Iterator[pa.RecordBatch]:
    """Cuts the rows before a position off the first chunk."""
    skip = 0
    if position % plan.global_batch_size:
        batch = position // plan.global_batch_size
        rows = plan.interleave(epoch).batch_rows(batch)
        low, high = (rows * edge // plan.global_batch_size for edge in (share.low, share.high))
        skip = int(np.clip(position - batch * plan.global_batch_size - low, 0, high - low))
    for chunk in chunks:
        if chunk.rows.num_rows > skip:
            yield chunk.rows.slice(skip)
        skip = max(skip - chunk.rows.num_rows, 0)


def _cut(chunk: Chunk) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    """(number of the global batch, its first row in the chunk, its rows)"""
    first = 0
    for number, end in zip(chunk.batches.tolist(), chunk.ends.tolist(), strict=True):
        yield number, first, chunk.rows.slice(first, end - first)
        first = end


def _ahead(drafts: Iterator[Drafted]) -> Iterator[Chunk]:
    """The chunks of the drafts: while one is used, the next is put together by a thread and those after are drafted by
    another."""
    with ThreadPoolExecutor(1, "winnow-draft") as drafter, ThreadPoolExecutor(1, "winnow-gather") as gatherer:

        def begun() -> Future[Chunk] | None:
            draft = next(drafts, None)
            return None if draft is None else gatherer.submit(draft.chunk)

        try:
            coming = deque(drafter.submit(begun) for _ in range(AHEAD))
            while (chunk := coming.popleft().result()) is not None:
                coming.append(drafter.submit(begun))
                yield chunk.result()
        finally:  # who stops early waits for what is under way alone
            drafter.shutdown(wait=False, cancel_futures=True)
            gatherer.shutdown(wait=False, cancel_futures=True)
