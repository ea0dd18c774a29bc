"""Feedback files and snapshots: what counts is averaged once a sample, whatever batches it came in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.errors import InputError, RequestError
from curator.feedback import FEEDBACK_FILE, LOSS_MOST, clipped, losses_of, read_snapshot, write_batch, write_snapshot
from curator.storage import Store


def table(rows: list[tuple[int, int, float]]) -> pa.Table:
    """(sample, epoch, loss) rows."""
    ids = [bytes([sample]) + bytes(15) for sample, _, _ in rows]
    columns = [ids, [r[1] for r in rows], [0] * len(rows), [r[2] for r in rows], [None] * len(rows)]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, FEEDBACK_FILE, strict=True)], schema=FEEDBACK_FILE)


def sample(number: int) -> np.ndarray:
    return np.frombuffer(bytes([number]) + bytes(15), np.uint8)


def test_losses_are_held_to_what_a_row_may_weigh() -> None:
    rows, changed = clipped(table([(1, 0, -1.0), (2, 0, 3.0), (3, 0, 1e6)]))
    assert rows["loss"].to_pylist() == [0.0, 3.0, LOSS_MOST] and changed == 2


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_no_number_is_refused_and_named(loss: float) -> None:
    with pytest.raises(InputError, match="row 1, column 'loss': not a finite number"):
        clipped(table([(1, 0, 1.0), (2, 0, loss)]))


def test_no_rows_are_no_trouble() -> None:
    assert clipped(table([]))[1] == 0


def test_only_rows_that_count_are_averaged(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    first = write_batch(store, "trn_1", table([(1, 0, 1.0), (2, 0, 5.0)]))
    second = write_batch(store, "trn_1", table([(1, 1, 3.0), (2, 0, 9.0)]))
    assert write_batch(store, "trn_1", table([(1, 0, 1.0), (2, 0, 5.0)])) == first
    name = write_snapshot(store, [(first[0], np.array([True, True])), (second[0], np.array([True, False]))])
    ids = np.stack([sample(2), sample(9), sample(1)])
    found = losses_of(ids, *read_snapshot(store, name))
    assert found[[0, 2]].tolist() == [5.0, 2.0] and np.isnan(found[1])


def test_no_losses_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="reported no losses yet"):
        write_snapshot(Store.open(tmp_path), [])


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3), st.floats(0, 19, width=32)), min_size=1, max_size=40),
    st.data(),
)
def test_the_snapshot_does_not_care_how_rows_were_batched(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, float]], data: st.DataObject
) -> None:
    store = Store.open(tmp_path_factory.mktemp("s"))
    cut = data.draw(st.integers(0, len(rows)))
    shuffled = data.draw(st.permutations(rows))
    whole = write_snapshot(store, [(write_batch(store, "a", table(rows))[0], np.ones(len(rows), bool))])
    parts = [part for part in (shuffled[:cut], shuffled[cut:]) if part]
    again = write_snapshot(
        store, [(write_batch(store, "b", table(part))[0], np.ones(len(part), bool)) for part in parts]
    )
    assert whole == again
    assert whole in store.list("feedback")
