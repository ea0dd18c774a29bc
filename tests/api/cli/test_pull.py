"""`winnow pull` and `winnow export` over a finished run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from api.cli import exports
from curator.client.shard_stream import pull

Winnow = Callable[..., Result]


def ids_in(path: Path) -> list[str]:
    if path.suffix == ".parquet":
        return pq.read_table(path)["id"].to_pylist()
    with pa.OSFile(str(path)) as source:
        opened = pa.ipc.open_file(source) if path.suffix == ".arrow" else pa.ipc.open_stream(source)
        return opened.read_all()["id"].to_pylist()


@pytest.mark.parametrize("extension", ["parquet", "arrow", "arrows"])
def test_an_epoch_is_what_the_stream_gives(winnow: Winnow, finished: Any, here: Path, extension: str) -> None:
    manifest = finished.summary["manifest"]
    done = winnow(
        "pull", manifest, "--epoch", 1, "--num-epochs", 3, "--curriculum", "linear", "--global-batch-size", 8,
        "--seed", 5, "--root", finished.root, "--out", f"e.{extension}",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    expected = pull(finished.root, manifest, 1, num_epochs=3, curriculum="linear", global_batch_size=8, seed=5)
    assert ids_in(here / f"e.{extension}") == [row for batch in expected for row in batch.column("id").to_pylist()]


def test_ranks_share_an_epoch_and_a_position_goes_on(winnow: Winnow, finished: Any, here: Path) -> None:
    common = ["pull", finished.summary["manifest"], "--epoch", 0, "--global-batch-size", 4, "--root", finished.root]
    for name, more in {
        "whole": [],
        "r0": ["--rank", 0, "--world-size", 2],
        "r1": ["--rank", 1, "--world-size", 2],
        "rest": ["--from", 8],
    }.items():
        assert winnow(*common, *more, "--out", f"{name}.parquet").exit_code == 0
    whole = ids_in(here / "whole.parquet")
    assert len(set(whole)) == len(whole) > 8
    assert ids_in(here / "rest.parquet") == whole[8:]
    halves = [ids_in(here / f"r{rank}.parquet") for rank in range(2)]
    assert [row for start in range(0, len(halves[0]), 2) for half in halves for row in half[start : start + 2]] == whole


def test_the_end_of_an_epoch_is_an_empty_file_with_its_columns(winnow: Winnow, finished: Any, here: Path) -> None:
    common = ["pull", finished.summary["manifest"], "--epoch", 0, "--global-batch-size", 4, "--root", finished.root]
    assert winnow(*common, "--out", "whole.parquet").exit_code == 0
    length = len(ids_in(here / "whole.parquet"))
    done = winnow(*common, "--from", length, "--out", "none.parquet")
    assert done.exit_code == 0, done.stderr
    assert pq.read_schema(here / "none.parquet") == pq.read_schema(here / "whole.parquet")
    assert ids_in(here / "none.parquet") == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--epoch", "10"], "epoch 10"),
        (["--epoch", "0", "--rank", "1"], "rank 1"),
        (["--epoch", "0", "--world-size", "3"], "does not divide"),
        (["--epoch", "0", "--global-batch-size", "1000"], "cannot fill"),
        (["--epoch", "0", "--from", "9999"], "9999"),
        (["--epoch", "0", "--curriculum", "hardest"], "hardest"),
        (["--epoch", "0", "--out", "e.csv"], "must end in"),
    ],
)
def test_wrong_requests_write_nothing(winnow: Winnow, finished: Any, here: Path, words: list[str], told: str) -> None:
    out = [] if "--out" in words else ["--out", "e.parquet"]
    out += [] if "--global-batch-size" in words else ["--global-batch-size", "4"]
    done = winnow("pull", finished.summary["manifest"], "--root", finished.root, *words, *out)
    assert done.exit_code == 2, done.stderr
    assert told in done.stderr
    assert list(here.iterdir()) == []


def test_an_unknown_manifest(winnow: Winnow, finished: Any, here: Path) -> None:
    done = winnow("pull", "man_0", "--epoch", 0, "--root", finished.root, "--out", "e.parquet")
    assert done.exit_code == 2
    assert "man_0" in done.stderr


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_an_export_holds_every_kept_row_once_with_hex_ids(winnow: Winnow, finished: Any, here: Path, form: str) -> None:
    done = winnow("export", finished.summary["manifest"], "--format", form, "--out", "x", "--root", finished.root)
    assert done.exit_code == 0, done.stderr
    [file] = (here / "x").iterdir()
    rows = (
        pq.read_table(file).to_pylist()
        if form == "parquet"
        else [json.loads(line) for line in file.read_text().splitlines()]
    )
    assert [row["id"] for row in rows] == [f"d{n}" for n in range(100)]
    assert all(len(bytes.fromhex(row["sample_id"])) == 16 for row in rows)


def test_a_folder_in_use_is_left_alone(winnow: Winnow, finished: Any, here: Path) -> None:
    (here / "x").mkdir()
    (here / "x" / "mine").write_text("x")
    done = winnow("export", finished.summary["manifest"], "--format", "jsonl", "--out", "x", "--root", finished.root)
    assert done.exit_code == 2
    assert "not empty" in done.stderr
    assert [path.name for path in (here / "x").iterdir()] == ["mine"]


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_large_exports_are_cut_into_files_in_order(here: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(exports, "FILE_BYTES", 200)
    batches = [
        pa.record_batch({"n": [start, start + 1], "sample_id": pa.array([bytes(16)] * 2, pa.binary(16))})
        for start in range(0, 10, 2)
    ]
    write = exports.export_parquet if form == "parquet" else exports.export_jsonl
    names = write(batches, "man_1", "x")
    assert names == [f"man_1-{number:05d}.{form}" for number in range(len(names))]
    assert len(names) == 2
    rows = []
    for name in names:
        path = here / "x" / name
        rows += (
            pq.read_table(path).to_pylist()
            if form == "parquet"
            else [json.loads(line) for line in path.read_text().splitlines()]
        )
    assert [row["n"] for row in rows] == list(range(10))


def test_jsonl_has_a_form_for_bytes_times_and_decimals(here: Path) -> None:
    import datetime
    import decimal

    batch = pa.record_batch(
        {
            "b": [b"\x00\xff"],
            "t": [datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)],
            "d": [decimal.Decimal("1.50")],
            "f": [float("nan")],
            "sample_id": pa.array([bytes(16)], pa.binary(16)),
        }
    )
    [name] = exports.export_jsonl([batch], "m", "x")
    row = json.loads((here / "x" / name).read_text())
    assert (row["b"], row["t"], row["d"], row["sample_id"]) == ("AP8=", "2020-01-02T03:04:05+00:00", "1.50", "00" * 16)
    assert row["f"] != row["f"]
