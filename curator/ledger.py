"""The ledger: one row for every input row, in input order, saying what became of it and why.

Arrow IPC files, one a work unit, under `runs/<run>/ledger/`, and `parts.json`, which is written last and says how many
rows each part has: without it there is no ledger yet, and a file it does not count is none of its parts. Knows nothing
of who decided. Column meanings are the contract with every reader; an unknown version is refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from curator.difficulty import NAMES as DIFFICULTIES
from curator.errors import IntegrityError, NotFoundError
from curator.storage import Store
from curator.verdict import ACTIONS

__all__ = ["LEDGER_VERSION", "Ledger", "ledger_schema"]

LEDGER_VERSION: Final = "1"
_PARTS: Final = "parts.json"


def ledger_schema(id_type: pa.DataType | None, label_type: pa.DataType | None) -> pa.Schema:
    """The columns of CONTRACT version 1. `id` is absent without an id column; labels are null type without a label.

    sample_id binary(16) · id · action dictionary(keep, drop, relabel) · reason dictionary, null when kept as it is ·
    reasons list of dictionary, every rule that fired · given_label, predicted_label (the proposal, null when none) ·
    label_score float32 in [0, 1], low = bad · confidence, propensity float32 of the chosen action · difficulty
    dictionary and difficulty_score float32, null when dropped · duplicate_of binary(16), similarity float32 ·
    policy_version dictionary.
    """
    names = pa.dictionary(pa.int16(), pa.string())
    small = pa.dictionary(pa.int8(), pa.string())
    label = label_type or pa.null()
    fields = [
        pa.field("sample_id", pa.binary(16), nullable=False),
        *([pa.field("id", id_type)] if id_type is not None else []),
        pa.field("action", small, nullable=False),
        pa.field("reason", names),
        pa.field("reasons", pa.list_(names)),
        pa.field("given_label", label),
        pa.field("predicted_label", label),
        pa.field("label_score", pa.float32()),
        pa.field("confidence", pa.float32()),
        pa.field("propensity", pa.float32()),
        pa.field("difficulty", small),
        pa.field("difficulty_score", pa.float32()),
        pa.field("duplicate_of", pa.binary(16)),
        pa.field("similarity", pa.float32()),
        pa.field("policy_version", small),
    ]
    return pa.schema(fields, metadata={"winnow.ledger": LEDGER_VERSION})


class Ledger:
    """Reads a run's ledger. Raises NotFoundError when the run has none (yet), IntegrityError for an unknown version.

    files: its parts in input order, one a work unit; rows_by_part: how many rows each has.
    """

    def __init__(self, store: Store, run: str):
        self.store, self.run = store, run
        try:
            parts = json.loads(store.read_bytes(f"{self.folder_of(run)}/{_PARTS}"))
        except NotFoundError as error:
            raise NotFoundError(
                f"run {run} has no ledger in {store.uri}; it has not finished, or the root is another one"
            ) from error
        _known(str(parts.get("version")))
        self.rows_by_part: list[int] = parts["rows"]
        self.files = [self.file_name(run, part) for part in range(len(self.rows_by_part))]

    @staticmethod
    def folder_of(run: str) -> str:
        """Where a run's ledger lies, relative to the root."""
        return f"runs/{run}/ledger"

    @staticmethod
    def file_name(run: str, unit: int) -> str:
        """Where a unit's part lies, relative to the root."""
        return f"{Ledger.folder_of(run)}/{unit:05d}.arrow"

    @staticmethod
    def seal(store: Store, run: str, rows_by_part: Sequence[int]) -> None:
        """Makes a ledger of the parts that lie there, in input order: from now on it can be read."""
        parts = {"version": LEDGER_VERSION, "rows": list(rows_by_part)}
        store.write_bytes(f"{Ledger.folder_of(run)}/{_PARTS}", json.dumps(parts).encode())

    @property
    def schema(self) -> pa.Schema:
        with self.store.open_input(self.files[0]) as source:
            return _checked(pa.ipc.open_file(source).schema)

    def scan(
        self,
        *,
        action: str | None = None,
        reason: str | None = None,
        difficulty: str | None = None,
        min_confidence: float | None = None,
        columns: Sequence[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Batches in input order, filtered; one work unit's part in memory at a time."""
        for name in self.files:
            with self.store.open_input(name) as source:
                reader = pa.ipc.open_file(source)
                _checked(reader.schema)
                for index in range(reader.num_record_batches):
                    batch = _filtered(reader.get_batch(index), action, reason, difficulty, min_confidence)
                    if batch.num_rows:
                        yield batch.select(list(columns)) if columns is not None else batch

    def counts(self) -> dict[str, dict[str, int]]:
        """Rows by action, by reason and by difficulty."""
        totals: dict[str, Counter[str]] = {"action": Counter(), "reason": Counter(), "difficulty": Counter()}
        for batch in self.scan(columns=["action", "reason", "difficulty"]):
            for name, counter in totals.items():
                for item in pc.value_counts(batch.column(name).dictionary_decode()).to_pylist():
                    if item["values"] is not None:
                        counter[item["values"]] += item["counts"]
        order = {"action": ACTIONS, "difficulty": DIFFICULTIES}
        return {
            name: {key: counter[key] for key in order.get(name, sorted(counter, key=lambda k: (-counter[k], k)))}
            for name, counter in totals.items()
        }


def _checked(schema: pa.Schema) -> pa.Schema:
    _known((schema.metadata or {}).get(b"winnow.ledger", b"?").decode())
    return schema


def _known(version: str) -> None:
    if version != LEDGER_VERSION:
        raise IntegrityError(
            f"ledger version {version!r} is unknown here (known: {LEDGER_VERSION}); update Winnow to read it"
        )


def _filtered(
    batch: pa.RecordBatch, action: str | None, reason: str | None, difficulty: str | None, min_confidence: float | None
) -> pa.RecordBatch:
    for name, wanted in (("action", action), ("reason", reason), ("difficulty", difficulty)):
        if wanted is not None:
            batch = batch.filter(pc.equal(batch.column(name).dictionary_decode(), wanted))
    if min_confidence is not None:
        batch = batch.filter(pc.greater_equal(batch.column("confidence"), min_confidence))
    return batch
