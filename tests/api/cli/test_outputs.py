"""Where a command may write: what is refused is refused first; a place that refuses later is the request's fault."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from api.cli.outputs import output_file, output_folder, written_to
from curator.errors import DiskFullError, RequestError
from curator.storage import Store

Winnow = Callable[..., Result]


def commands(finished: Any, out: object) -> list[list[object]]:
    run, manifest = finished.summary["run"], finished.summary["manifest"]
    return [
        ["decisions", run, "--out", f"{out}/d.parquet"],
        ["decisions", run, "--signals", "--out", f"{out}/d.parquet"],
        ["pull", manifest, "--epoch", 0, "--global-batch-size", 4, "--out", f"{out}/e.parquet"],
        ["export", manifest, "--format", "jsonl", "--out", f"{out}/x"],
        ["export", manifest, "--format", "mds", "--out", f"{out}/x"],
        ["export", manifest, "--format", "webdataset", "--out", f"{out}/x"],
        ["report", run, "--html", f"{out}/r.html"],
    ]


def test_a_place_nobody_may_write_to_is_a_wrong_request(winnow: Winnow, finished: Any, here: Path) -> None:
    (here / "file").write_text("")
    for words in commands(finished, here / "file" / "below"):
        done = winnow(*words, "--root", finished.root)
        assert done.exit_code == 2, (words, done.stderr)
        assert "name another" in done.stderr and "resume" not in done.stderr
    assert [path.name for path in here.iterdir()] == ["file"]


@pytest.mark.parametrize(("number", "code"), [(errno.EROFS, 2), (errno.EACCES, 2), (errno.ENOSPC, 3)])
def test_a_place_that_refuses_while_it_is_written(
    winnow: Winnow, finished: Any, here: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    import os

    def refuse(path: str, *given: Any, **named: Any) -> None:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr("curator.storage.os.makedirs", refuse)
    for words in commands(finished, here / "new"):
        done = winnow(*words, "--root", finished.root)
        assert done.exit_code == code, (words, done.stderr)
        assert "name another place" in done.stderr and "resume" not in done.stderr


def test_files_and_folders_are_not_mixed_up(here: Path) -> None:
    (here / "folder").mkdir()
    (here / "folder" / "held").write_text("")
    for refused, told in (("folder", "is not empty"), ("folder/held", "is a file")):
        with pytest.raises(RequestError, match=told):
            output_folder(refused)
    with pytest.raises(RequestError, match="is a folder"):
        output_file("folder")
    assert output_file("new/d.parquet")[1] == "d.parquet"
    assert output_folder("new").list() == []
    assert not (here / "new").exists()


def test_other_errors_pass(here: Path) -> None:
    with pytest.raises(KeyError), written_to("x"), Store.open(".").writer("x"):
        raise KeyError
    with pytest.raises(DiskFullError, match="another place than --out x"), written_to("x"):
        raise DiskFullError("no space left")
