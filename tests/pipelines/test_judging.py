"""The judge that decides is the one the run learned, in this attempt."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.errors import IntegrityError
from curator.run import RunRequest
from pipelines.judging import load_judge
from tests.pipelines.test_execute import go, labelled_recipe


def test_a_retry_in_the_same_process_decides_with_the_new_judge(tmp_path: Path, labelled: dict[str, Path]) -> None:
    inputs = (str(labelled["a"]), str(labelled["b"]))
    request = RunRequest(inputs=inputs, recipe=labelled_recipe(), trusted=str(labelled["trusted"]))
    before = go(tmp_path / "root", request)
    truth = {row["id"]: row["truth"] for row in pq.read_table(labelled["truth"]).to_pylist()}
    table = pq.read_table(labelled["b"])
    mended = pa.array([truth[key] for key in table["id"].to_pylist()])
    pq.write_table(table.set_column(2, "label", mended), labelled["b"], row_group_size=100)
    again = go(tmp_path / "root", request)
    fresh = go(tmp_path / "fresh", request)
    assert before.policy != again.policy == fresh.policy
    assert again.manifest == fresh.manifest and again.reasons == fresh.reasons
    with pytest.raises(IntegrityError, match=f"learned the policy {before.policy}, but {again.policy} lies"):
        load_judge.__wrapped__(str(tmp_path / "root"), "run_1", before.policy)
