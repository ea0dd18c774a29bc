"""Where rows come from, as training sees it: a stream of record batches by epoch with a cursor; and a table as such.

Knows Arrow and permutations; nothing of models. Curated shards give the same stream: `pull.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from curator.digest import content_id
from curator.errors import ConflictError, RequestError

__all__ = ["RowStream", "TableRows", "with_sample_ids"]


class RowStream(Protocol):
    """Global batches of one epoch after the other. `state_dict()` is the place after the batch last yielded."""

    @property
    def manifest(self) -> str:
        """What is streamed."""
        ...

    @property
    def plan(self) -> str:
        """In which order: the epoch plan's id; it goes into feedback and checkpoints."""
        ...

    @property
    def num_rows(self) -> int: ...

    def num_batches(self, epoch: int) -> int: ...

    def labels(self, column: str) -> Iterator[pa.Array | pa.ChunkedArray]:
        """Every label that can be served, in pieces, any order."""
        ...

    def set_epoch(self, epoch: int) -> None:
        """The next `iter_batches` starts at the first batch of this epoch."""
        ...

    def iter_batches(self) -> Iterator[pa.RecordBatch]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def cursor(self, epoch: int, num_batches: int) -> dict[str, Any]:
        """The `state_dict` of an epoch after that many batches."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next `iter_batches` goes on from there. Raises ConflictError for a cursor of another plan."""
        ...


class TableRows:
    """A table in memory: every row once an epoch, in an order drawn from (seed, epoch); the last batch may be short."""

    def __init__(self, table: pa.Table, *, seed: int, global_batch_size: int):
        if not table.num_rows:
            raise RequestError("the table has no rows: there is nothing to train on")
        self.table, self.seed, self.size = with_sample_ids(table), seed, global_batch_size
        self.manifest = "table"
        shape = {"rows": table.num_rows, "columns": table.schema.names, "seed": seed, "batch": global_batch_size}
        self.plan = content_id("tbl", shape)
        self._epoch, self._done = 0, 0

    @property
    def num_rows(self) -> int:
        return int(self.table.num_rows)

    def num_batches(self, epoch: int) -> int:
        return -(-self.table.num_rows // self.size)

    def labels(self, column: str) -> Iterator[pa.ChunkedArray]:
        yield self.table.column(column)

    def set_epoch(self, epoch: int) -> None:
        self._epoch, self._done = epoch, 0

    def iter_batches(self) -> Iterator[pa.RecordBatch]:
        order = np.random.Generator(np.random.Philox(key=[self.seed, self._epoch])).permutation(self.table.num_rows)
        for first in range(self._done * self.size, len(order), self.size):
            self._done += 1
            [batch] = self.table.take(pa.array(order[first : first + self.size])).combine_chunks().to_batches()
            yield batch

    def state_dict(self) -> dict[str, Any]:
        return {"plan": self.plan, "epoch": self._epoch, "done": self._done}

    def cursor(self, epoch: int, num_batches: int) -> dict[str, Any]:
        return {"plan": self.plan, "epoch": epoch, "done": num_batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["plan"] != self.plan:
            raise ConflictError(
                f"the cursor belongs to {state['plan']}, these rows are {self.plan}; going on would repeat and skip "
                "rows. Start in another checkpoint folder."
            )
        self._epoch, self._done = int(state["epoch"]), int(state["done"])


def with_sample_ids(table: pa.Table) -> pa.Table:
    """The table with a `sample_id` column binary(16); where it has none, the row numbers."""
    if "sample_id" in table.schema.names:
        return table
    numbers = np.zeros((table.num_rows, 2), dtype=">u8")
    numbers[:, 1] = np.arange(table.num_rows)
    ids = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), table.num_rows, [None, pa.py_buffer(numbers.tobytes())])
    return table.append_column("sample_id", ids)
