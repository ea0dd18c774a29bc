"""`apply` is the only code that drops or relabels: every row goes somewhere, once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.verdict import DROP, KEEP, RELABEL, apply


def batch(n: int) -> pa.RecordBatch:
    return pa.record_batch(
        {"row": pa.array(range(n), pa.int64()), "label": pa.array([i % 3 for i in range(n)], pa.int8())}
    )


@given(st.lists(st.sampled_from([KEEP, DROP, RELABEL])))
def test_every_row_lands_in_exactly_one_part_in_order(actions: list[int]) -> None:
    codes = np.array(actions, np.uint8)
    new = pa.array([2] * len(actions), pa.int8())
    kept, dropped = apply(batch(len(actions)), codes, label="label", new_labels=new)
    assert kept["row"].to_pylist() == [i for i, a in enumerate(actions) if a != DROP]
    assert dropped["row"].to_pylist() == [i for i, a in enumerate(actions) if a == DROP]
    for row in kept.to_pylist():
        changed = actions[row["row"]] == RELABEL
        assert row["label"] == (2 if changed else row["row"] % 3)
        assert row["label_before"] == (row["row"] % 3 if changed else None)
    assert dropped["label_before"].null_count == dropped.num_rows


def test_a_null_label_can_be_relabelled() -> None:
    rows = pa.record_batch({"label": pa.array([None, 1], pa.int8())})
    kept, _ = apply(rows, np.array([RELABEL, KEEP], np.uint8), label="label", new_labels=pa.array([2, None], pa.int8()))
    assert kept["label"].to_pylist() == [2, 1]


def test_a_relabel_needs_a_label_column_and_a_new_label() -> None:
    relabel = np.array([RELABEL], np.uint8)
    with pytest.raises(ValueError, match="without a label column"):
        apply(batch(1), relabel)
    with pytest.raises(ValueError, match="without a new label"):
        apply(batch(1), relabel, label="label", new_labels=pa.array([None], pa.int8()))
    with pytest.raises(ValueError, match="1 verdicts for 2 rows"):
        apply(batch(2), relabel)
