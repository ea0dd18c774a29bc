"""`winnow pull` and `winnow export` over a finished run."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from curator.client.shard_stream import pull
from curator.shards.reader import ShardReader
from curator.storage import Store

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


def test_a_short_tail_and_the_size_of_an_epoch_can_be_asked_for(winnow: Winnow, finished: Any, here: Path) -> None:
    common = ["pull", finished.summary["manifest"], "--epoch", 0, "--root", finished.root, "--curriculum", "constant"]
    assert winnow(*common, "--tail", "short", "--global-batch-size", 1000, "--out", "all.parquet").exit_code == 0
    every = ids_in(here / "all.parquet")
    assert len(every) == len(set(every)) > 5
    assert winnow(*common, "--epoch-size", 4, "--global-batch-size", 2, "--out", "four.parquet").exit_code == 0
    assert len(ids_in(here / "four.parquet")) == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--epoch", "10"], "give a larger num_epochs"),
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


def test_the_latest_manifest_of_a_root(winnow: Winnow, finished: Any, here: Path) -> None:
    common = ("--epoch", 0, "--global-batch-size", 4, "--root", finished.root)
    for name, out in ((finished.summary["manifest"], "id.parquet"), ("latest", "latest.parquet")):
        done = winnow("pull", name, *common, "--out", out)
        assert done.exit_code == 0, done.stderr
    assert (here / "id.parquet").read_bytes() == (here / "latest.parquet").read_bytes()
    done = winnow("pull", "prod", *common, "--out", "prod.parquet")
    assert done.exit_code == 2 and "no alias 'prod'" in done.stderr


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


def read_mds(folder: Path) -> list[Any]:
    """The ids, by a reader of the layout's own."""
    from tests.curator.exports.test_archives import read_mds as rows_of

    return rows_of(folder)


@pytest.mark.parametrize("form", ["mds", "webdataset"])
def test_the_command_writes_every_kept_row(winnow: Callable[..., Result], finished: Any, here: Path, form: str) -> None:
    done = winnow("export", finished.summary["manifest"], "--format", form, "--out", "x", "--root", finished.root)
    assert done.exit_code == 0, done.stderr
    if form == "mds":
        rows = read_mds(here / "x")
    else:
        [path] = (here / "x").iterdir()
        with tarfile.open(path) as archive:
            rows = [json.load(archive.extractfile(member)) for member in archive]  # type: ignore[arg-type]
    assert [row["id"] for row in rows] == [f"d{number}" for number in range(100)]


def sample_ids(root: object, manifest: str) -> set[bytes]:
    batches = ShardReader(Store.open(str(root))).iter_batches(manifest, ["sample_id"])
    return {value for batch in batches for value in batch.column(0).to_pylist()}


@pytest.mark.parametrize("form", ["parquet", "jsonl", "webdataset", "pulled"])
def test_what_was_curated_can_be_curated_again(winnow: Winnow, finished: Any, here: Path, form: str) -> None:
    """A row keeps its identity where it has the user's id; what the first run wrote of it is written anew."""
    manifest = finished.summary["manifest"]
    words = ["export", manifest, "--format", form, "--out", "out"]
    if form == "pulled":
        words = ["pull", manifest, "--epoch", 0, "--global-batch-size", 4, "--out", "out/epoch.parquet"]
    Path("out").mkdir()
    assert winnow(*words, "--root", finished.root).exit_code == 0
    Path("again.yaml").write_text("{columns: {id: id, text: text}, policy: {kind: rules}}")
    done = winnow("curate", "out", "--recipe", "again.yaml", "--out", "root", "--json")
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["kept"] == summary["rows_in"] == (48 if form == "pulled" else 100)
    assert any("sample_id" in warning and "set aside" in warning for warning in summary["warnings"])
    again, before = sample_ids("root", summary["manifest"]), sample_ids(finished.root, manifest)
    assert len(again) == summary["kept"]
    assert again <= before
