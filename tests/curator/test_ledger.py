"""The ledger reads what was written, filters it, and refuses what it does not know."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from curator.errors import IntegrityError, NotFoundError
from curator.ledger import Ledger, ledger_schema
from curator.storage import Store


def write(store: Store, schema: pa.Schema, unit: int, first: int) -> None:
    rows = 4
    values = {
        "sample_id": [bytes([first + row]) * 16 for row in range(rows)],
        "id": list(range(first, first + rows)),
        "action": ["keep", "drop", "drop", "relabel"],
        "reason": [None, "too_short", "near_duplicate", "label_error"],
        "reasons": [[], ["too_short", "near_duplicate"], ["near_duplicate"], ["label_error"]],
        "given_label": [0, 1, 2, 0],
        "predicted_label": [None, None, None, 1],
        "label_score": [0.9, None, None, 0.1],
        "confidence": [1.0, 1.0, 0.5, 0.7],
        "propensity": [1.0] * rows,
        "difficulty": ["easy", None, None, "hard"],
        "difficulty_score": [0.1, None, None, 2.0],
        "duplicate_of": [None, None, b"k" * 16, None],
        "similarity": [None, None, 0.9, None],
        "policy_version": ["p"] * rows,
    }
    with store.writer(Ledger.file_name("run_1", unit)) as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array(values[f.name], f.type) for f in schema], schema=schema))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    store = Store.open(tmp_path)
    for unit in range(3):
        write(store, ledger_schema(pa.int64(), pa.int8()), unit, 4 * unit)
    Ledger.seal(store, "run_1", [4, 4, 4])
    return Ledger(store, "run_1")


def ids(ledger: Ledger, **filters: object) -> list[int]:
    return [row for batch in ledger.scan(**filters) for row in batch.column("id").to_pylist()]  # type: ignore[arg-type]


def test_rows_come_in_input_order_and_filters_join(ledger: Ledger) -> None:
    assert ids(ledger) == list(range(12))
    assert ids(ledger, action="drop") == [1, 2, 5, 6, 9, 10]
    assert ids(ledger, action="drop", reason="near_duplicate") == [2, 6, 10]
    assert ids(ledger, difficulty="hard") == [3, 7, 11]
    assert ids(ledger, min_confidence=0.6) == [0, 1, 3, 4, 5, 7, 8, 9, 11]
    assert next(ledger.scan(columns=["id", "reason"])).schema.names == ["id", "reason"]


def test_counts_add_up(ledger: Ledger) -> None:
    counts = ledger.counts()
    assert counts["action"] == {"keep": 3, "drop": 6, "relabel": 3}
    assert counts["reason"] == {"label_error": 3, "near_duplicate": 3, "too_short": 3}
    assert counts["difficulty"] == {"easy": 3, "medium": 0, "hard": 3}


def test_a_run_without_ids_or_labels_has_neither() -> None:
    schema = ledger_schema(None, None)
    assert "id" not in schema.names and schema.field("given_label").type == pa.null()


def test_what_is_not_there_or_not_known(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with pytest.raises(NotFoundError, match="run_1 has no ledger"):
        Ledger(store, "run_1")
    write(store, ledger_schema(pa.int64(), pa.int8()).with_metadata({"winnow.ledger": "9"}), 0, 0)
    with pytest.raises(NotFoundError, match="has not finished"):  # parts without the word that they are all there
        Ledger(store, "run_1")
    Ledger.seal(store, "run_1", [4])
    with pytest.raises(IntegrityError, match="version '9'"):
        list(Ledger(store, "run_1").scan())
    store.write_bytes(f"{Ledger.folder_of('run_1')}/parts.json", b'{"version": "7", "rows": []}')
    with pytest.raises(IntegrityError, match="version '7'"):
        Ledger(store, "run_1")


def test_files_that_are_none_of_its_parts_are_not_read(ledger: Ledger) -> None:
    write(ledger.store, ledger_schema(pa.int64(), pa.int8()), 3, 100)
    assert ids(Ledger(ledger.store, "run_1")) == list(range(12))


def test_parts_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    Ledger.seal(store, "run_1", [0] * 100_001)
    found = Ledger(store, "run_1")
    assert found.files[99_999].endswith("/99999.arrow") and found.files[100_000].endswith("/100000.arrow")
    assert found.rows_by_part == [0] * 100_001


def test_a_ledger_of_this_version_is_read_for_ever(ledger: Ledger) -> None:
    """The golden file is part of the contract: renew it only with a new LEDGER_VERSION."""
    golden = Path(__file__).parents[1] / "golden" / "ledger.arrow"
    with ledger.store.open_input(ledger.files[0]) as source:
        written = pa.ipc.open_file(source).read_all()
    with pa.memory_map(str(golden)) as source:
        kept = pa.ipc.open_file(source).read_all()
    assert written.schema.equals(kept.schema, check_metadata=True) and written.equals(kept)
