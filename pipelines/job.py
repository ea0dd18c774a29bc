"""A job: one run's plan and the names of its files. What every step is given, in any process.

Knows where a run's files lie under the root; nothing of what steps compute or which engine calls them.

    runs/<run>/plan.json                     what is done to which rows
               trusted.arrow                 the trusted sample, joined
               encoder/                      the fitted encoder
               units/00000.signals.arrow     one row for every row used: ids, labels, signals
                     00000.edges*.arrow      verified pairs, where duplicates are looked for
                     00000.sample.arrow      contents set aside for samples, of large sets
                     00000.embeddings.arrow  vectors, where an encoder is used
                     00000.verdicts.arrow    the decision
                     00000.difficulty.arrow  scores of kept rows
               index/ index-url/ index-meaning/  what rows are compared by, where duplicates are looked for
               resolve/                      duplicate edges and clusters
               judge/                        the policy and its scorecard
               difficulty/                   the model that orders kept rows
               ledger/00000.arrow            one row for every row used: the verdict, whole
               report.json                   the summary
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from curator.readers import WorkUnit
from curator.recipe import Recipe
from curator.stopping import hear
from curator.storage import Store
from pipelines.held import Held
from pipelines.plan import Plan, load_plan
from pipelines.rows import used_rows
from pipelines.side import bytes_matrix

__all__ = ["Job"]

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True)
class Job:
    """Cheap to make, safe to send: workers open it from (root, run).

    held: where a process walks the whole road, the rows it need not read again.
    """

    root: str
    run: str
    held: Held | None = field(default=None, repr=False, compare=False)

    @cached_property
    def store(self) -> Store:
        return Store.open(self.root)

    @cached_property
    def plan(self) -> Plan:
        """Raises NotFoundError; ConflictError for a plan that another version of Winnow made."""
        return load_plan(self.store.read_bytes(self.name("plan.json")), self.run)

    @cached_property
    def trusted(self) -> tuple[np.ndarray, np.ndarray]:
        """The trusted sample: sample ids as ascending S16[n], and their truth codes int64[n]."""
        table = self.read(self.name("trusted.arrow"))
        keys = bytes_matrix(table["sample_id"], "S16").reshape(-1)
        order = np.argsort(keys)
        return keys[order], table["truth"].to_numpy()[order]

    @property
    def recipe(self) -> Recipe:
        return self.plan.recipe

    def unit(self, index: int) -> WorkUnit:
        return self.plan.units[index]

    def used_rows(
        self, unit: int, *, columns: Sequence[str] | None = None
    ) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        """The unit's rows, as `pipelines.rows.used_rows` gives them: every step that opens the data reads here."""
        if self.held is not None:
            return self.held.used_rows(self.plan, unit, columns=columns)
        return used_rows(self.plan, unit, columns=columns)

    def name(self, *parts: str) -> str:
        """A file of this run, relative to the root."""
        return "/".join(("runs", self.run, *parts))

    def side_name(self, unit: int, kind: str) -> str:
        return self.name("units", f"{unit:05d}.{kind}.arrow")

    @contextmanager
    def writer(self, name: str, schema: pa.Schema) -> Iterator[Any]:
        """An IPC file writer; the file is there, whole, on a clean exit only."""
        hear()
        with self.store.writer(name) as sink, pa.ipc.new_file(sink, schema, options=_OPTIONS) as writer:
            yield writer

    def side_writer(self, unit: int, kind: str, schema: pa.Schema) -> AbstractContextManager[Any]:
        return self.writer(self.side_name(unit, kind), schema)

    def write(self, name: str, batch: pa.RecordBatch) -> None:
        with self.writer(name, batch.schema) as writer:
            writer.write_batch(batch)

    @contextmanager
    def publish(self, name: str) -> Iterator[Path]:
        """An empty local folder whose files become this run's `name/` on a clean exit."""
        with TemporaryDirectory(prefix="winnow-") as scratch:
            yield Path(scratch)
            for path in sorted(Path(scratch).iterdir()):
                self.store.write_bytes(self.name(name, path.name), path.read_bytes())

    @contextmanager
    def files(self, name: str) -> Iterator[Path]:
        """A local copy of this run's `name/`."""
        prefix = self.name(name)
        with TemporaryDirectory(prefix="winnow-") as scratch:
            for stored in self.store.list(prefix):
                (Path(scratch) / stored[len(prefix) + 1 :]).write_bytes(self.store.read_bytes(stored))
            yield Path(scratch)

    def read_side(self, unit: int, kind: str, columns: list[str] | None = None) -> pa.Table:
        return self.read(self.side_name(unit, kind), columns)

    def read(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """The whole file, or these columns of it; no other column is decompressed. Raises StoppedError where somebody
        listens for it: steps that walk the whole set read file after file."""
        hear()
        with self.store.open_input(name) as source:
            reader = pa.ipc.open_file(source)
            if columns is None:
                return reader.read_all()
            places = [reader.schema.get_field_index(column) for column in columns]
            return (
                pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=places))
                .read_all()
                .select(columns)
            )
