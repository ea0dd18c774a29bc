"""Columns of an earlier run are set aside; a user's own column of such a name stays, to be refused by name."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.readers import discover, plan_inputs, read

HEX = ["0123456789abcdef" * 2, "f" * 32]
BYTES = pa.array([b"0" * 16, b"1" * 16], pa.binary(16))


def planned(folder: Path, *files: dict[str, object]) -> tuple[list[str], tuple[str, ...]]:
    """(columns of the plan and of what is read, columns set aside) of Parquet files."""
    for number, columns in enumerate(files):
        pq.write_table(pa.table({"text": [f"a {number}", "b"], **columns}), folder / f"{number}.parquet")
    plan = plan_inputs(discover([str(folder)]), unit_rows=64)
    rows = next(read(plan.units[0], schema=plan.schema))
    assert rows.batch.schema.names == plan.schema.names
    return plan.schema.names, plan.set_aside


@pytest.mark.parametrize("ids", [HEX, BYTES, [HEX[0], None]])
def test_what_winnow_wrote_is_set_aside(tmp_path: Path, ids: object) -> None:
    found = planned(tmp_path, {"label_before": [3, None], "sample_id": ids, "difficulty": ["easy", "hard"]})
    assert found == (["text"], ("sample_id", "label_before", "difficulty"))


@pytest.mark.parametrize("ids", [["img_1", "img_2"], [1, 2], [HEX[0], "img_2"], [HEX[0].upper(), HEX[1]], [b"0", b"1"]])
def test_a_column_of_ones_own_stays(tmp_path: Path, ids: object) -> None:
    assert planned(tmp_path, {"sample_id": ids, "label_before": ["x", "y"]})[1] == ()


def test_one_file_with_ids_of_its_own_is_enough_to_leave_all_as_they_are(tmp_path: Path) -> None:
    assert planned(tmp_path, {"sample_id": HEX}, {"sample_id": ["img_1", "img_2"]})[1] == ()


def test_without_sample_ids_nothing_is_winnows(tmp_path: Path) -> None:
    assert planned(tmp_path, {"label_before": ["x", None], "difficulty": ["easy", "hard"]})[1] == ()


def test_another_type_under_a_name_of_winnows_stays(tmp_path: Path) -> None:
    found = planned(tmp_path, {"sample_id": HEX, "label_before": [0.5, None], "difficulty": [1, 2]})
    assert found == (["text", "label_before", "difficulty"], ("sample_id",))
