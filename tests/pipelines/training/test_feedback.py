"""The feedback table: its columns, its batching, what is left out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipelines.training.feedback import FEEDBACK_SCHEMA, FeedbackBuffer

IDS = pa.array([b"a" * 16, b"b" * 16, b"c" * 16], pa.binary(16))


def test_columns_and_types() -> None:
    got: list[pa.Table] = []
    buffer = FeedbackBuffer(got.append, plan="epl_1", training_job="trn_1")
    buffer.add(IDS, 2, 7, np.float32([0.5, 1.5, 2.5]), np.array([True, False, True]))
    buffer.add(IDS[:1], 2, 8, np.float32([0.25]), None)
    assert not got
    buffer.flush()
    buffer.flush()
    [table] = got
    assert table.schema == FEEDBACK_SCHEMA
    assert table.to_pylist()[1] == {
        "sample_id": b"b" * 16,
        "epoch": 2,
        "step": 7,
        "loss": 1.5,
        "correct": False,
        "plan": "epl_1",
        "training_job": "trn_1",
    }
    assert table.column("correct").to_pylist() == [True, False, True, None]


def test_rows_without_a_loss_are_left_out() -> None:
    got: list[pa.Table] = []
    buffer = FeedbackBuffer(got.append, plan="p", training_job="t")
    buffer.add(IDS, 0, 1, np.float32([0.5, np.nan, 2.5]), np.array([True, True, False]))
    buffer.flush()
    assert got[0].column("sample_id").to_pylist() == [b"a" * 16, b"c" * 16]
    assert got[0].column("correct").to_pylist() == [True, False]


def test_full_tables_go_out_by_themselves() -> None:
    got: list[pa.Table] = []
    buffer = FeedbackBuffer(got.append, plan="p", training_job="t", rows=5)
    for step in range(4):
        buffer.add(IDS, 0, step, np.zeros(3, np.float32), None)
    assert [table.num_rows for table in got] == [6, 6]


def test_nobody_listening_costs_nothing() -> None:
    buffer = FeedbackBuffer(None, plan="p", training_job="t")
    buffer.add(IDS, 0, 0, np.zeros(3, np.float32), None)
    buffer.flush()
