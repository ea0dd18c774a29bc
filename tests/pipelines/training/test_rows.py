"""A table as a row stream: every row once an epoch, resumable between any two batches."""

from __future__ import annotations

from itertools import chain

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.errors import ConflictError, RequestError
from pipelines.training.rows import TableRows, with_sample_ids


def _rows(num_rows: int = 23, seed: int = 0) -> TableRows:
    return TableRows(pa.table({"n": list(range(num_rows))}), seed=seed, global_batch_size=5)


def _epoch(rows: TableRows, epoch: int) -> list[list[int]]:
    rows.set_epoch(epoch)
    return [batch.column("n").to_pylist() for batch in rows.iter_batches()]


def test_every_row_once_in_an_order_of_seed_and_epoch() -> None:
    first, second = _epoch(_rows(), 0), _epoch(_rows(), 1)
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(23))
    assert [len(batch) for batch in first] == [5, 5, 5, 5, 3] and len(first) == _rows().num_batches(0)
    assert first != second and first != _epoch(_rows(seed=1), 0) and first == _epoch(_rows(), 0)


@settings(max_examples=20, deadline=None)
@given(epoch=st.integers(0, 3), stops=st.lists(st.integers(0, 2), min_size=1, max_size=3))
def test_a_cursor_goes_on_where_it_stood_twice_in_a_row(epoch: int, stops: list[int]) -> None:
    whole, rows, seen = _epoch(_rows(), epoch), _rows(), []
    rows.set_epoch(epoch)
    for stop in stops:
        batches = rows.iter_batches()
        seen += [next(batches).column("n").to_pylist() for _ in range(min(stop, len(whole) - len(seen)))]
        state, rows = rows.state_dict(), _rows()
        rows.load_state_dict(state)
    assert seen + [batch.column("n").to_pylist() for batch in rows.iter_batches()] == whole


def test_a_cursor_of_other_rows_is_refused() -> None:
    with pytest.raises(ConflictError, match="would repeat and skip rows"):
        _rows().load_state_dict(_rows(24).state_dict())


def test_no_rows_are_refused() -> None:
    with pytest.raises(RequestError, match="nothing to train on"):
        _rows(0)


def test_sample_ids_are_kept_or_made_from_the_row_number() -> None:
    made = with_sample_ids(pa.table({"n": [1] * 300}))
    assert made.schema.field("sample_id").type == pa.binary(16)
    assert made.column("sample_id")[258].as_py() == (258).to_bytes(16, "big")
    assert with_sample_ids(made) is made
