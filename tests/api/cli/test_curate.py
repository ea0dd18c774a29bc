"""`winnow curate`: what it asks of a run, what it prints, how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from curator.errors import RunFailedError, StoppedError
from curator.recipe import Recipe
from curator.run import Progress, RunSummary

Winnow = Callable[..., Result]
SUMMARY = RunSummary(
    run="run_1", manifest="man_1", ledger="/l", rows_in=10, kept=7, dropped=3, relabeled=1, reasons={"too_short": 3},
    difficulty={"easy": 3, "medium": 2, "hard": 2}, policy="pol_1", seconds=1.5, seconds_by_phase={"score": 1.0},
    peak_rss_bytes=1 << 20,
)  # fmt: skip


class FakeRun:
    """Stands for `pipelines.runs.curate_here`: remembers what it was asked, answers what it was told to."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.answer: RunSummary | BaseException = SUMMARY

    def __call__(
        self, inputs: list[str], recipe: Recipe | None, trusted: str | None, out: str, **options: Any
    ) -> RunSummary:
        options.pop("on_progress")(Progress(phase="score", rows_total=10, rows_done=10, kept=7, dropped=3))
        self.asked = {"inputs": inputs, "recipe": recipe, "trusted": trusted, "out": out, **options}
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    run = FakeRun()
    monkeypatch.setattr("pipelines.runs.curate_here", run)
    return run


def test_every_option_reaches_the_run(winnow: Winnow, fake: FakeRun) -> None:
    done = winnow(
        "curate",
        "a.csv",
        "b/*.jsonl",
        "--recipe",
        "text",
        "--trusted",
        "t.csv",
        "--out",
        "r",
        "--engine",
        "ray",
        "--seed",
        7,
        "--feedback",
        "trn_1",
    )
    assert done.exit_code == 0, done.stderr
    assert isinstance(fake.asked.pop("recipe"), Recipe)
    assert fake.asked == {
        "inputs": ["a.csv", "b/*.jsonl"], "trusted": "t.csv", "out": "r", "engine": "ray", "seed": 7, "resume": None,
        "feedback": ["trn_1"],
    }  # fmt: skip


def test_the_root_comes_from_the_environment_or_lies_here(
    winnow: Winnow, fake: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    winnow("curate", "a.csv", "--recipe", "text")
    assert fake.asked["out"] == "./winnow-data"
    monkeypatch.setenv("WINNOW_ROOT", "elsewhere")
    winnow("curate", "a.csv", "--recipe", "text")
    assert fake.asked["out"] == "elsewhere"


def test_json_is_one_object_on_stdout_and_nothing_else(winnow: Winnow, fake: FakeRun) -> None:
    done = winnow("curate", "a.csv", "--recipe", "text", "--json")
    assert done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    promised = {
        "run", "manifest", "ledger", "rows_in", "kept", "dropped", "relabeled", "reasons", "difficulty", "policy",
        "seconds", "seconds_by_phase", "peak_rss_bytes",
    }  # fmt: skip
    assert promised <= set(found)
    assert found["difficulty"] == {"easy": 3, "medium": 2, "hard": 2}
    assert "score: 10/10 rows" in done.stderr


def test_people_get_lines_and_the_next_command(winnow: Winnow, fake: FakeRun) -> None:
    told = winnow("curate", "a.csv", "--recipe", "text").stdout
    assert "10 in, 7 kept (70.0%), 3 dropped, 1 relabeled" in told
    assert "winnow report run_1" in told


@pytest.mark.parametrize(
    ("words", "environment", "told"),
    [
        ([], {}, "winnow report run_1"),
        (["--out", "./winnow-data"], {}, "winnow report run_1"),
        (["--out", "my root"], {}, "winnow report run_1 --root 'my root'"),
        ([], {"WINNOW_ROOT": "else"}, "winnow report run_1 --root else"),
        ([], {"WINNOW_URL": "http://h"}, "winnow report run_1 --root ./winnow-data"),
    ],
)
def test_the_next_command_works_when_pasted(
    winnow: Winnow,
    fake: FakeRun,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    environment: dict[str, str],
    told: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert winnow("curate", "a.csv", "--recipe", "text", *words).stdout.splitlines()[-1] == f"why each row: {told}"


def test_zero_rows_kept_is_loud_but_no_failure(winnow: Winnow, fake: FakeRun) -> None:
    fake.answer = SUMMARY.model_copy(update={"kept": 0, "dropped": 10})
    done = winnow("curate", "a.csv", "--recipe", "text", "--json")
    assert done.exit_code == 0
    assert "WARNING: not one of 10 rows was kept" in done.stderr
    json.loads(done.stdout)


def test_warnings_of_the_run_are_shown_once(winnow: Winnow, fake: FakeRun) -> None:
    fake.answer = SUMMARY.model_copy(update={"kept": 0, "warnings": ("not one row was kept; the ledger says why",)})
    assert winnow("curate", "a.csv", "--recipe", "text").stderr.count("WARNING") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--recipe", "text"], "no inputs"),
        (["a.csv"], "fineweb, gopher"),
        (["a.csv", "--recipe", "no-such-preset"], "no-such-preset"),
        (["a.csv", "--recipe", "gone.yaml"], "gone.yaml"),
        (["a.csv", "--resume", "last"], "leave out inputs"),
        (["--resume", "last", "--recipe", "text", "--seed", "1"], "leave out --recipe, --seed"),
        (["a.csv", "--recipe", "text", "--engine", "spark"], "spark"),
        (["a.csv", "--recipe", "text", "--seed", "-1"], "--seed"),
    ],
)
def test_a_wrong_request_is_told_before_a_run_begins(
    winnow: Winnow, fake: FakeRun, words: list[str], told: str
) -> None:
    done = winnow("curate", *words)
    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stdout == ""
    assert fake.asked == {}


def test_resume_asks_for_nothing_else(winnow: Winnow, fake: FakeRun) -> None:
    assert winnow("curate", "--resume", "last", "--out", "r").exit_code == 0
    assert (fake.asked["resume"], fake.asked["recipe"], fake.asked["inputs"]) == ("last", None, [])


@pytest.mark.parametrize(
    ("error", "code"), [(RunFailedError("disk"), 3), (StoppedError("pause"), 130), (KeyboardInterrupt(), 130)]
)
def test_how_a_run_that_stops_ends(winnow: Winnow, fake: FakeRun, error: BaseException, code: int) -> None:
    fake.answer = error
    done = winnow("curate", "a.csv", "--recipe", "text", "--json")
    assert done.exit_code == code
    assert done.stdout == ""


def test_a_real_run(finished: Any) -> None:
    summary = finished.summary
    assert (summary["rows_in"], summary["kept"], summary["dropped"]) == (103, 100, 3)
    assert summary["reasons"] == {"exact_duplicate": 1, "missing_content": 1, "too_short": 1}
    assert sum(summary["difficulty"].values()) == 100
    assert Path(summary["ledger"]).is_dir()


PROMISED = {
    "run": str, "manifest": str, "ledger": str, "rows_in": int, "kept": int, "dropped": int, "relabeled": int,
    "reasons": dict, "difficulty": dict, "policy": str, "seconds": float, "seconds_by_phase": dict,
    "peak_rss_bytes": int, "warnings": list,
}  # fmt: skip
"""The object `--json` prints: scripts are written against these names and types."""


def test_the_json_object_is_the_promised_one(finished: Any) -> None:
    summary = finished.summary
    assert {name: type(value) for name, value in summary.items()} == PROMISED
    assert summary["run"].startswith("run_") and summary["manifest"].startswith("man_")
    assert list(summary["difficulty"]) == ["easy", "medium", "hard"]
    assert {type(count) for name in ("reasons", "difficulty") for count in summary[name].values()} == {int}
    assert {type(seconds) for seconds in summary["seconds_by_phase"].values()} == {float}
    assert list(summary["seconds_by_phase"]) == ["validate", "score", "resolve", "learn", "decide", "write"]


BAD_INPUTS = {
    "empty.jsonl": (b"", "the file is empty"),
    "cut.parquet": (b"PAR1 and then nothing", "PAR1 marks"),
    "columns.jsonl": (b'{"id": "a", "txt": "x", "split": "train"}\n', "did you mean 'txt'"),
    "twice.jsonl": (b'{"id": "a", "text": "x", "split": "train"}\n' * 2, "repeat"),
    "noid.jsonl": (
        b'{"id": null, "text": "x", "split": "train"}\n{"id": "b", "text": "", "split": ""}\n',
        "id is null",
    ),
    "bytes.jsonl": (b'{"id": "a", "text": "\xff", "split": "train"}\n', "not valid UTF-8"),
    "where.jsonl": (b'{"id": "a", "text": "x", "split": "test"}\n', "where"),
    "notes.txt": (b"x", "unknown extension"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_a_bad_input_is_a_wrong_request_and_leaves_nothing(
    winnow: Winnow, finished: Any, here: Path, name: str
) -> None:
    data, told = BAD_INPUTS[name]
    (here / name).write_bytes(data)
    done = winnow("curate", here / name, "--recipe", finished.recipe, "--out", here / "root")
    assert done.exit_code == 2, done.stderr
    assert told in done.stderr
    assert done.stdout == ""
    assert not (here / "root" / "runs").exists()


def test_a_file_that_is_not_there(winnow: Winnow, finished: Any, here: Path) -> None:
    done = winnow("curate", here / "gone.csv", "--recipe", finished.recipe, "--out", here / "root")
    assert done.exit_code == 2
    assert "no such file" in done.stderr
    assert not (here / "root").exists()


def test_nothing_to_resume(winnow: Winnow, here: Path) -> None:
    done = winnow("curate", "--resume", "last", "--out", here / "root")
    assert done.exit_code == 2


def test_resuming_where_nothing_was_curated_writes_nothing(winnow: Winnow, here: Path) -> None:
    done = winnow("curate", "--resume", "last", "--out", here / "new")
    assert done.exit_code == 2
    assert "nothing was ever curated" in done.stderr and str(here / "new") in done.stderr
    (here / "a.jsonl").write_text('{"text": "x"}\n')
    words = ["curate", here / "a.jsonl", "--recipe", "classification", "--feedback", "trn_1", "--out", here / "new"]
    assert "nothing to learn from" in winnow(*words).stderr
    assert [path.name for path in here.iterdir()] == ["a.jsonl"]


def test_resuming_is_spoken_of_once_there_is_a_run(
    winnow: Winnow, finished: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import curator.catalog.runs as runs
    from curator.errors import DiskFullError

    def full(*given: Any, **named: Any) -> Any:
        raise DiskFullError("no space left; free some and try again")

    words = ["curate", finished.data, "--recipe", finished.recipe, "--out", here / "root"]
    with monkeypatch.context() as patched:
        patched.setattr(runs.Runs, "create_claimed", full)
        before = winnow(*words)
    assert before.exit_code == 3 and "no space left" in before.stderr and "resume" not in before.stderr
    with monkeypatch.context() as patched:
        patched.setattr("pipelines.runs.execute", full)
        after = winnow(*words)
    assert after.exit_code == 3
    [command] = [line.split("`")[1] for line in after.stderr.splitlines() if "`" in line]
    resumed = winnow(*command.split()[1:])
    assert resumed.exit_code == 0, resumed.stderr
