"""Uncompressed copies of shards on local disk: decoded once, then only mapped, epoch after epoch.

Knows shards' bytes and a folder; nothing of where shards come from or in what order rows are read.
"""

from __future__ import annotations

import errno
import itertools
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
from pydantic import ValidationError

from curator.client.cache import claim, sweep, trim
from curator.client.locks import alone
from curator.errors import DiskFullError, IntegrityError
from curator.shards.manifest import ShardInfo
from curator.shards.open_shard import OpenShard, page_checksum
from curator.shards.writer import MAGIC_BYTES, frame_checksum

__all__ = ["DecodedCopies"]

FORM = "2"
"""Names the folder of copies of this form; copies of another are not seen."""
UNUSED_S = 3600
"""Copies that nobody opened for so long make room for new ones."""


class DecodedCopies:
    """A folder of copies. Beside each lies a note with its checksums, written last: no note, no copy.

    Safe for several processes: both appear whole by a rename, and two writers write the same bytes.

    limit_bytes: the most that may lie in `root`, other files than copies included; None for no limit. Where a copy has
    no room, the shard itself is read: epochs walk over shards in circles, and copies that pushed each other out would
    be made again and again.
    """

    def __init__(self, root: str | os.PathLike[str], *, limit_bytes: int | None = None):
        self._folder, self._root = Path(root), Path(root) / "decoded" / FORM
        self._limit_bytes = limit_bytes
        self._refused: set[str] = set()
        sweep(self._root)

    def of(self, shard: OpenShard) -> OpenShard:
        """The shard read from its copy, which is made (and checked on the way) when missing or damaged; the shard
        itself where there is no room."""
        copy = self._opened(shard)
        if copy is None and self._may_fit(shard):
            folder = self._data(shard.info.digest).parent
            folder.mkdir(parents=True, exist_ok=True)
            with alone(folder):
                copy = self._opened(shard)  # somebody else may have made it
                if copy is None:
                    self._write(shard)
                    copy = self._opened(shard)
        return copy if copy is not None else shard  # removed by another process meanwhile: the shard itself serves

    def discard(self, digest: str) -> None:
        """Forgets a copy, the note first."""
        self._note(digest).unlink(missing_ok=True)
        self._data(digest).unlink(missing_ok=True)

    def _data(self, digest: str) -> Path:
        return self._root / digest[:2] / f"{digest}.arrow"

    def _note(self, digest: str) -> Path:
        return self._root / digest[:2] / f"{digest}.json"

    def _may_fit(self, shard: OpenShard) -> bool:
        return self._limit_bytes is None or self._has_room(shard.info.digest, _copied_bytes(shard))

    def _has_room(self, digest: str, num_bytes: int) -> bool:
        """Whether so many bytes more are within the limit; asked once a shard when they are not."""
        if self._limit_bytes is None:
            return True
        if digest not in self._refused:
            left = self._limit_bytes - num_bytes
            if trim(self._folder, left, used_before=time.time() - UNUSED_S) <= left:
                return True
            self._refused.add(digest)
        return False

    def _opened(self, shard: OpenShard) -> OpenShard | None:
        digest = shard.info.digest
        try:
            info = ShardInfo.model_validate_json(self._note(digest).read_text())
            with suppress(PermissionError):  # another user's
                os.utime(self._data(digest))
            with pa.memory_map(str(self._data(digest))) as source:
                return OpenShard(info, source.read_buffer(), shard.index, shard.label, mapped=True)
        except (FileNotFoundError, ValidationError, IntegrityError):
            self.discard(digest)
            return None

    def _write(self, shard: OpenShard) -> None:
        digest = shard.info.digest
        temporary = self._data(digest).with_name(f"{digest}.{uuid.uuid4().hex[:12]}.tmp")
        try:
            with temporary.open("wb") as file:
                claim(file)
                offsets = _write_uncompressed(shard, temporary)
                os.fsync(file)
            if not self._has_room(digest, temporary.stat().st_size):
                return
            note = _noted(shard.info, temporary, offsets)
            os.replace(temporary, self._data(digest))
            temporary.write_text(note.model_dump_json())
            os.replace(temporary, self._note(digest))
            if not self._has_room(digest, 0):  # another process took the last room meanwhile
                self.discard(digest)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DiskFullError(
                f"no space left for an uncompressed copy of shard {digest} in {self._root}; free some, or read without "
                "cache_dir"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)


def _copied_bytes(shard: OpenShard) -> int:
    """About how large a copy gets, going by the first record batch."""
    if not shard.info.num_batches:
        return 0
    return int(
        shard.stored(0, shard.schema.names).nbytes * shard.info.rows / min(shard.info.batch_rows, shard.info.rows)
    )


def _write_uncompressed(shard: OpenShard, path: Path) -> list[int]:
    """Writes all record batches as stored; returns their byte offsets and the end of the last."""
    offsets = [MAGIC_BYTES + len(shard.schema.serialize())]
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, shard.schema) as writer:
        for number in range(shard.info.num_batches):
            writer.write_batch(shard.stored(number, shard.schema.names))
            offsets.append(sink.tell())
    return offsets


def _noted(info: ShardInfo, path: Path, offsets: list[int]) -> ShardInfo:
    """The copy's lengths and checksums under the shard's name."""
    with pa.memory_map(str(path)) as source:
        data = memoryview(source.read_buffer())
    ranges = itertools.pairwise(offsets)
    return info.model_copy(
        update={
            "bytes": len(data),
            "batch_offsets": tuple(offsets),
            "batch_checksums": tuple(page_checksum(data[low:high]) for low, high in ranges),
            "frame_checksum": frame_checksum(data, offsets[0], offsets[-1]),
            "index": None,
            "live": (0, 0, 0),
        }
    )
