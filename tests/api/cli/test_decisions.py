"""`winnow decisions` and `winnow what-if` over a finished run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from api.cli.decisions import settings_of
from curator.errors import RequestError
from curator.sample_id import from_ids

Winnow = Callable[..., Result]
CONTRACT = [
    "sample_id", "id", "action", "reason", "reasons", "given_label", "predicted_label", "label_score", "confidence",
    "propensity", "difficulty", "difficulty_score", "duplicate_of", "similarity", "policy_version",
]  # fmt: skip


def test_every_row_used_is_there_with_the_users_id(winnow: Winnow, finished: Any, here: Path) -> None:
    done = winnow("decisions", finished.summary["run"], "--root", finished.root, "--out", "d.parquet")
    assert done.exit_code == 0, done.stderr
    table = pq.read_table(here / "d.parquet")
    assert table.column_names == CONTRACT
    assert table["id"].to_pylist() == [*(f"d{n}" for n in range(100)), "<b>short", "dup", "null"]
    assert table["sample_id"].combine_chunks().equals(from_ids(table["id"].combine_chunks()))
    assert table["action"].to_pylist() == ["keep"] * 100 + ["drop"] * 3
    assert table["reason"].to_pylist()[100:] == ["too_short", "exact_duplicate", "missing_content"]
    assert table["duplicate_of"][101].as_py() == table["sample_id"][3].as_py()


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--action", "drop"], ["<b>short", "dup", "null"]),
        (["--reason", "exact_duplicate"], ["dup"]),
        (["--action", "keep", "--reason", "exact_duplicate"], []),
    ],
)
@pytest.mark.parametrize("signals", [False, True])
def test_filters(winnow: Winnow, finished: Any, here: Path, options: list[str], ids: list[str], signals: bool) -> None:
    more = ["--signals"] if signals else []
    done = winnow("decisions", "last", "--root", finished.root, "--out", "d.parquet", *options, *more)
    assert done.exit_code == 0, done.stderr
    table = pq.read_table(here / "d.parquet")
    assert table["id"].to_pylist() == ids
    assert f"{len(ids)} decisions" in done.stdout


def test_signals_stand_beside_their_rows(winnow: Winnow, finished: Any, here: Path) -> None:
    winnow("decisions", "last", "--root", finished.root, "--out", "d.parquet", "--signals")
    table = pq.read_table(here / "d.parquet")
    names = [name for name in table.column_names if name.startswith("signal.")]
    assert table.column_names == CONTRACT + names
    length = next(name for name in names if "char" in name)
    assert table[length].to_pylist()[:100] == [
        float(len(f"the quick brown fox jumps over {n} lazy dogs")) for n in range(100)
    ]


def test_a_run_without_signals_says_so(winnow: Winnow, here: Path) -> None:
    (here / "a.jsonl").write_text('{"text": "one"}\n{"text": "one"}\n{"text": "two"}\n')
    (here / "r.yaml").write_text(
        "task: text\ncolumns: {text: text}\nprocess: [exact_duplicates]\npolicy: {kind: rules}\n"
    )
    assert winnow("curate", "a.jsonl", "--recipe", "r.yaml", "--out", "root").exit_code == 0
    done = winnow("decisions", "last", "--root", "root", "--signals", "--out", "d.parquet")
    assert done.exit_code == 0 and "recorded no signals" in done.stderr
    assert pq.read_table(here / "d.parquet").column_names == [name for name in CONTRACT if name != "id"]
    assert "signals" not in winnow("decisions", "last", "--root", "root", "--out", "e.parquet").stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["last", "--out", "d.csv"], "must end in .parquet"),
        (["last", "--out", "d.parquet", "--action", "dropped"], "none of keep, drop, relabel"),
        (["last", "--out", "d.parquet", "--reason", "nope"], "exact_duplicate"),
        (["run_0", "--out", "d.parquet"], "no ledger"),
    ],
)
def test_wrong_requests_write_nothing(winnow: Winnow, finished: Any, here: Path, words: list[str], told: str) -> None:
    done = winnow("decisions", *words, "--root", finished.root)
    assert done.exit_code == 2
    assert told in done.stderr
    assert list(here.iterdir()) == []


def test_a_root_that_is_not_there(winnow: Winnow, here: Path) -> None:
    for words in (
        ["decisions", "last", "--out", "d.parquet"],
        ["report", "last"],
        ["what-if", "last", "--set", "a.b=1"],
    ):
        done = winnow(*words, "--root", here / "nowhere")
        assert done.exit_code == 2
        assert "no directory" in done.stderr
    assert list(here.iterdir()) == []


def test_what_if_counts_without_changing_anything(winnow: Winnow, finished: Any) -> None:
    before = sorted(str(path) for path in Path(finished.root).rglob("*"))
    done = winnow("what-if", "last", "--root", finished.root, "--set", "length.min_chars=0", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["rows"], found["kept_before"], found["kept"], found["newly_kept"]) == (103, 100, 101, 1)
    assert found["examples"]["newly_kept"] == ["<b>short"]
    told = winnow("what-if", "last", "--root", finished.root, "--set", "length.min_chars=0").stdout
    assert "100 -> 101" in told and "newly_kept: <b>short" in told
    assert sorted(str(path) for path in Path(finished.root).rglob("*")) == before


@pytest.mark.parametrize(
    "wrong", ["length.min_chars", "min_chars=3", "a.b.c=1", "length.=1", "nope.x=1", "length.min_chars=x"]
)
def test_a_wrong_setting(winnow: Winnow, finished: Any, wrong: str) -> None:
    done = winnow("what-if", "last", "--root", finished.root, "--set", wrong)
    assert done.exit_code == 2
    assert done.stdout == ""


def test_settings_are_read_as_json_where_they_are() -> None:
    found = settings_of(["a.x=0.9", "a.y=true", 'a.z=["en","de"]', "a.w=en", "a.v=1=2"])
    assert found == {"a.x": 0.9, "a.y": True, "a.z": ["en", "de"], "a.w": "en", "a.v": "1=2"}
    with pytest.raises(RequestError, match="twice"):
        settings_of(["a.x=1", "a.x=2"])
