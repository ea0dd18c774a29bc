"""The commands that work at a server, against a served root in a process of its own."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

# A command ends its process; what reads shards from a server holds its connections until then.
pytestmark = pytest.mark.filterwarnings("ignore:.*<socket.socket:pytest.PytestUnraisableExceptionWarning")

Winnow = Callable[..., Result]
REPOSITORY = Path(__file__).parents[3]


class Served(NamedTuple):
    url: str
    summary: dict[str, Any]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, winnow: Winnow, finished: Any) -> Iterator[Served]:
    """A server on a port of its own, with the run of `finished` done once more there."""
    folder = tmp_path_factory.mktemp("served")
    command = [sys.executable, "-c", "import api.cli; api.cli.main()", "serve", "--port", "0", "--root", str(folder)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=kept
    )
    try:
        assert process.stdout is not None
        url = next(word for word in process.stdout.readline().split() if word.startswith("http"))
        wait_until_ready(url)
        done = winnow("submit", finished.data, "--recipe", finished.recipe, "--url", url, "--wait", "--json")
        assert done.exit_code == 0, done.stderr
        yield Served(url, json.loads(done.stdout))
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        process.stdout.close()  # type: ignore[union-attr]


def wait_until_ready(url: str) -> None:
    for _ in range(200):
        try:
            httpx.get(f"{url}/healthz/live")
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"{url} never answered")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_server_comes_to_the_same_manifest(served: Served, finished: Any) -> None:
    for name in ("manifest", "rows_in", "kept", "dropped", "reasons", "difficulty", "policy"):
        assert served.summary[name] == finished.summary[name]


def test_watch_a_run_that_has_ended(winnow: Winnow, served: Served) -> None:
    done = winnow("watch", served.summary["run"], "--url", served.url)
    assert done.exit_code == 0, done.stderr
    assert "103 in, 100 kept" in done.stdout
    pasted = shlex.split(done.stdout.splitlines()[-1].removeprefix("why each row: winnow "))
    assert winnow(*pasted).exit_code == 0


def test_runs_for_people_and_for_programs(winnow: Winnow, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_URL", served.url)
    told = winnow("runs")
    assert served.summary["run"] in told.stdout
    assert "100 kept of 103" in told.stdout
    [run] = json.loads(winnow("runs", "--json").stdout)["runs"]
    assert (run["id"], run["state"]) == (served.summary["run"], "succeeded")


@pytest.mark.parametrize("at", ["server", "root"])
def test_shards_of_a_manifest(winnow: Winnow, served: Served, finished: Any, at: str) -> None:
    where = ["--url", served.url] if at == "server" else ["--root", finished.root]
    found = json.loads(winnow("shards", served.summary["manifest"], *where, "--json").stdout)
    assert found["live"] == finished.summary["difficulty"]
    assert [(shard["quarantine"], shard["rows"]) for shard in found["shards"]] == [(False, 100), (True, 3)]
    told = winnow("shards", served.summary["manifest"], *where).stdout
    assert found["shards"][0]["digest"] in told
    assert "2 shards, 100 live rows" in told


def test_reading_commands_say_the_same_at_a_server_and_a_root(
    winnow: Winnow, served: Served, finished: Any, here: Path
) -> None:
    manifest = finished.summary["manifest"]
    for name, where, run in (
        ("root", ["--root", finished.root], "last"),
        ("server", ["--url", served.url], served.summary["run"]),
    ):
        for words in (
            ["pull", manifest, "--epoch", 0, "--global-batch-size", 4, "--out", f"{name}-e.parquet"],
            ["export", manifest, "--format", "jsonl", "--out", f"{name}-x"],
            ["decisions", run, "--action", "drop", "--out", f"{name}-d.parquet"],
            ["decisions", run, "--signals", "--out", f"{name}-s.parquet"],
            ["decisions", run, "--reason", "too_short", "--action", "keep", "--signals", "--out", f"{name}-n.parquet"],
        ):
            done = winnow(*words, *where)
            assert done.exit_code == 0, done.stderr
        done = winnow("what-if", run, "--set", "length.min_chars=0", "--json", *where)
        (here / f"{name}.json").write_text(done.stdout)
    for name in ("e.parquet", "d.parquet", "s.parquet", "n.parquet"):
        assert pq.read_table(here / f"root-{name}").equals(pq.read_table(here / f"server-{name}"))
    described = pq.read_table(here / "server-s.parquet")
    assert described.num_rows == 103 and described["signal.num_chars"][0].as_py() == 42.0
    assert [path.read_bytes() for path in (here / "root-x").iterdir()] == [
        path.read_bytes() for path in (here / "server-x").iterdir()
    ]
    one, other = (json.loads((here / f"{name}.json").read_text()) for name in ("root", "server"))
    assert {name: other[name] for name in one} == one
    assert one["examples"]["newly_kept"] == ["<b>short"]


def test_a_reason_nobody_gave(winnow: Winnow, served: Served, here: Path) -> None:
    words = ["decisions", served.summary["run"], "--reason", "nope", "--url", served.url, "--out", "d.parquet"]
    done = winnow(*words)
    assert done.exit_code == 2 and "exact_duplicate" in done.stderr
    assert list(here.glob("*.parquet")) == []


def test_a_report_is_one_card_from_a_root_and_from_a_server(winnow: Winnow, served: Served, finished: Any) -> None:
    places = (["last", "--root", finished.root], [served.summary["run"], "--url", served.url])
    root, server = (json.loads(winnow("report", *place, "--json").stdout) for place in places)
    for part in ("reasons", "moves", "scorecard"):
        assert server[part] == root[part]
    shown = {reason["name"]: reason for reason in server["reasons"]}
    assert shown["too_short"]["meaning"] == "fewer characters or words than asked for"
    assert shown["exact_duplicate"]["examples"][0]["content"] == "the quick brown fox jumps over 3 lazy dogs"


def test_the_report_of_a_servers_run(winnow: Winnow, served: Served, here: Path) -> None:
    done = winnow("report", served.summary["run"], "--url", served.url, "--html", "card.html")
    assert done.exit_code == 0, done.stderr
    assert "exact_duplicate" in (here / "card.html").read_text()
    assert "dup drop: the quick brown fox" in winnow("report", served.summary["run"], "--url", served.url).stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["watch", "run_0"], "run_0"),
        (["shards", "man_0"], "man_0"),
        (["submit", "gone.csv", "--recipe", "text"], "no such file"),
        (["submit", "s3://b/a.csv", "s3://b/b.csv", "--recipe", "text"], "one URL"),
        (["decisions", "run_0", "--out", "d.parquet", "--signals"], "run_0"),
    ],
)
def test_wrong_requests(winnow: Winnow, served: Served, here: Path, words: list[str], told: str) -> None:
    done = winnow(*words, "--url", served.url)
    assert done.exit_code == 2, done.stderr
    assert told in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
@pytest.mark.parametrize(
    "words",
    [
        ["runs"],
        ["watch", "run_0"],
        ["shards", "man_0"],
        ["decisions", "run_0", "--out", "d.parquet"],
        ["pull", "man_0", "--epoch", 0, "--out", "e.parquet"],
    ],
    ids=lambda words: words[0],
)
def test_an_address_without_a_server_is_a_wrong_request(
    winnow: Winnow, here: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], url: str
) -> None:
    """Nothing was begun, so there is nothing to resume."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    done = winnow(*words, "--url", url)
    assert done.exit_code == 2, done.stderr
    assert f"nobody answers at {url}" in done.stderr and "WINNOW_URL" in done.stderr
    assert list(here.glob("*.parquet")) == []


def test_a_failed_run_exits_like_a_failed_curate(winnow: Winnow, served: Served, here: Path, finished: Any) -> None:
    (here / "a.jsonl").write_text('{"id": "a", "text": "x", "split": "test"}\n')
    done = winnow("submit", "a.jsonl", "--recipe", finished.recipe, "--url", served.url, "--wait")
    assert done.exit_code == 2
    assert "where" in done.stderr and "resume" not in done.stderr
    assert done.stdout == ""
    queued = winnow("submit", "a.jsonl", "--recipe", finished.recipe, "--url", served.url)
    pasted = shlex.split(queued.stdout.split("follow it: winnow ")[1])
    assert winnow(*pasted).exit_code == 2


@pytest.mark.parametrize(
    ("state", "fault", "code", "resumes"),
    [
        ("failed", {"code": "disk_full", "message": "no space left", "resumable": True}, 3, True),
        ("failed", {"code": "bad_input", "message": "the file is empty", "resumable": False}, 2, False),
        ("cancelled", None, 3, False),
    ],
)
def test_how_to_go_on_is_told_where_it_helps(
    winnow: Winnow, monkeypatch: pytest.MonkeyPatch, state: str, fault: Any, code: int, resumes: bool
) -> None:
    from curator.client.rest import Client

    body = {"id": "run_1", "state": state, "error": fault, "progress": {}}
    transport = httpx.MockTransport(lambda asked: httpx.Response(200, json=body, headers={"ETag": '"1"'}))
    monkeypatch.setattr("api.cli.remote.client_of", lambda url, key: Client(url, key, transport=transport))
    done = winnow("watch", "run_1", "--url", "http://h")
    assert done.exit_code == code and state in done.stderr
    assert ("curl -X POST http://h/v1/runs/run_1:resume" in done.stderr) == resumes == ("resume" in done.stderr)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--recipe", "here.yaml"], "unknown operator"),
        (["--recipe", "wikipedia"], "fineweb"),
        (["--recipe", "text", "--trusted", "gone.csv"], "gone.csv"),
    ],
)
def test_nothing_is_sent_for_a_wrong_recipe(
    winnow: Winnow, served: Served, here: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    (here / "here.yaml").write_text("task: text\nprocess: [shorten]\n")
    (here / "a.jsonl").write_text('{"text": "x"}\n')
    done = winnow("submit", "a.jsonl", *words, "--url", served.url)
    assert done.exit_code == 2 and told in done.stderr
    assert "sending" not in done.stderr


def test_the_server_checks_the_recipe_before_anything_is_sent(
    winnow: Winnow, here: Path, finished: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server of another version may know fewer recipes than this client."""
    from curator.client.rest import Client
    from curator.errors import RecipeError

    def refuse(client: Client, recipe: object) -> None:
        raise RecipeError("not here")

    monkeypatch.setattr(Client, "check_recipe", refuse)
    done = winnow("submit", finished.data, "--recipe", "text", "--url", "http://127.0.0.1:9")
    assert (done.exit_code, done.stderr) == (2, "winnow: not here\n")
