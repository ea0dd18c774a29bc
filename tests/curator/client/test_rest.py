"""The REST client against a scripted server: retries, resumed uploads, errors as both sides name them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

import curator.errors
from curator.client.problems import BY_CODE
from curator.client.rest import Client
from curator.errors import (
    ConflictError,
    InputError,
    IntegrityError,
    NotFoundError,
    RecipeError,
    RequestError,
    RetryableError,
    RunFailedError,
    TransportError,
    UnreachableError,
    WinnowError,
)

Answer = Callable[[httpx.Request], httpx.Response]


class Script(httpx.BaseTransport):
    """Answers from a function; remembers what was asked."""

    def __init__(self, answer: Answer):
        self.answer, self.asked = answer, []  # type: ignore[var-annotated]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        return self.answer(request)


def client(answer: Answer, **more: Any) -> tuple[Client, Script]:
    script = Script(answer)
    return Client("http://winnow.test", "wnw_key", backoff_s=0.0, transport=script, **more), script


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    body = {"detail": "told so", "code": code, "request_id": "req_1", "title": "x"}
    return httpx.Response(status, json=body, headers=headers)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "not_found", NotFoundError),
        (409, "conflict", ConflictError),
        (422, "idempotency_mismatch", ConflictError),
        (412, "precondition_failed", ConflictError),
        (422, "bad_recipe", RecipeError),
        (422, "bad_input", InputError),
        (422, "checksum_mismatch", IntegrityError),
        (401, "unauthenticated", RequestError),
        (418, "teapot", RequestError),
        (500, "internal", WinnowError),
        (502, "", TransportError),
        (503, "retry", RetryableError),
        (429, "rate_limited", RetryableError),
    ],
)
def test_a_problem_becomes_the_error_it_names(status: int, code: str, kind: type[WinnowError]) -> None:
    made, _ = client(lambda request: problem(status, code), retries=0)
    with pytest.raises(WinnowError) as raised:
        made.run("run_1")
    assert type(raised.value) is kind
    assert "told so" in str(raised.value) and str(status) in str(raised.value) and "req_1" in str(raised.value)
    if code:
        assert raised.value.code == code


def test_every_error_a_server_can_name_has_its_class() -> None:
    kinds = {getattr(curator.errors, name) for name in curator.errors.__all__}
    assert {kind.code for kind in kinds} - set(BY_CODE) == {"winnow_error", "stopped", "unreachable"}


def test_an_answer_of_something_in_between_is_an_error_too() -> None:
    made, _ = client(lambda request: httpx.Response(404, text="<html>nginx</html>"))
    with pytest.raises(NotFoundError):
        made.run("run_1")


def test_broken_connections_and_busy_servers_are_tried_again() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if len(script.asked) == 1:
            raise httpx.ConnectError("refused")
        if len(script.asked) == 2:
            raise httpx.ReadError("reset")
        return problem(503, "retry") if len(script.asked) == 3 else httpx.Response(200, json={"id": "run_1"})

    made, script = client(answer)
    assert made.submit("ds_1", "text")["id"] == "run_1"
    assert len(script.asked) == 4
    keys = {request.headers["idempotency-key"] for request in script.asked}
    assert len(keys) == 1  # the server can tell that it is one request
    assert {request.headers["authorization"] for request in script.asked} == {"Bearer wnw_key"}


def test_a_silent_server_is_given_up_with_advice() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    made, script = client(answer, retries=2)
    with pytest.raises(UnreachableError, match="winnow serve"):
        made.run("run_1")
    assert len(script.asked) == 3


def test_a_server_that_went_away_is_not_called_a_wrong_address() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if len(script.asked) == 1:
            return httpx.Response(200, json={})
        raise httpx.ConnectError("refused")

    made, script = client(answer, retries=1)
    made.run("run_1")
    with pytest.raises(TransportError, match="did not answer GET") as raised:
        made.run("run_1")
    assert not isinstance(raised.value, UnreachableError)


def test_a_key_whose_answer_broke_off_is_taken_back_and_made_anew() -> None:
    """The first answer never arrived, and the one given again for its idempotency key has no secret."""
    made_under: dict[str, str] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            return httpx.Response(204)
        key = request.headers["idempotency-key"]
        if not made_under:
            made_under[key] = "key_1"
            raise httpx.ReadError("reset")
        again = key in made_under
        made = made_under.setdefault(key, f"key_{len(made_under) + 1}")
        return httpx.Response(201, json={"id": made, "secret": None if again else "wnw_2"})

    maker, script = client(answer)
    assert maker.keys.create("k", ["read"]) == {"id": "key_2", "secret": "wnw_2"}
    assert [request.url.path for request in script.asked if request.method == "DELETE"] == ["/v1/keys/key_1"]


def test_answers_that_always_break_off_leave_no_key() -> None:
    maker, script = client(lambda request: httpx.Response(201, json={"id": "key_1", "secret": None}))
    with pytest.raises(TransportError, match="taken back"):
        maker.webhooks.create("https://a.example/")
    assert [request.method for request in script.asked] == ["POST", "DELETE"] * 3


def test_a_refusal_is_not_tried_again() -> None:
    made, script = client(lambda request: problem(422, "bad_recipe"))
    with pytest.raises(RecipeError):
        made.submit("ds_1", "nothing")
    assert len(script.asked) == 1


class Uploads:
    """A server's uploads, in memory; `drop` breaks the connection of the first try of some parts."""

    def __init__(self, part_bytes: int, drop: tuple[int, ...] = ()):
        self.part_bytes, self.drop = part_bytes, set(drop)
        self.parts: dict[int, bytes] = {}
        self.announced: dict[str, Any] = {}
        self.done = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "PUT":
            number = int(path.rsplit("/", 1)[1])
            if number in self.drop:
                self.drop.discard(number)
                raise httpx.WriteError("broken pipe")
            self.parts[number] = request.content
            return httpx.Response(204)
        if path.endswith(":complete"):
            whole = b"".join(self.parts[number] for number in sorted(self.parts))
            self.done = hashlib.sha256(whole).hexdigest() == self.announced["sha256"]
            return httpx.Response(200, json=self.view()) if self.done else problem(422, "checksum_mismatch")
        if request.method == "POST":
            self.announced = json.loads(request.content)
        return httpx.Response(200, json=self.view())

    def view(self) -> dict[str, Any]:
        size = self.announced["size"]
        numbers = range(1, -(-size // self.part_bytes) + 1)
        parts = [
            {
                "number": number,
                "size": min(self.part_bytes, size - (number - 1) * self.part_bytes),
                "url": f"/v1/uploads/upl_1/parts/{number}",
                "received": number in self.parts,
            }
            for number in numbers
        ]
        state = "complete" if self.done else "open"
        return {**self.announced, "id": "upl_1", "state": state, "part_bytes": self.part_bytes, "parts": parts}


def test_a_file_goes_up_in_parts_and_a_broken_one_goes_again(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(bytes(range(256)) * 10)
    server = Uploads(1000, drop=(2,))
    made, script = client(server)
    assert made.upload(file) == "upl_1"
    assert server.done
    assert [len(server.parts[number]) for number in (1, 2, 3)] == [1000, 1000, 560]
    assert sum(request.method == "PUT" for request in script.asked) == 4


def test_an_upload_left_unfinished_sends_only_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(b"0123456789")
    server = Uploads(4)
    server.announced = {"name": "rows.csv", "size": 10, "sha256": hashlib.sha256(b"0123456789").hexdigest()}
    server.parts = {1: b"0123", 3: b"89"}
    made, script = client(server)
    made.upload(file, resume="upl_1")
    assert server.done
    assert [request.url.path[-1] for request in script.asked if request.method == "PUT"] == ["2"]
    file.write_bytes(b"another content")
    with pytest.raises(InputError, match="is not the file"):
        made.upload(file, resume="upl_1")


@pytest.mark.parametrize("name", ["missing.csv", "empty.csv"])
def test_a_file_that_cannot_go_up(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.csv").touch()
    made, script = client(lambda request: httpx.Response(500))
    with pytest.raises(InputError, match=name):
        made.upload(tmp_path / name)
    assert not script.asked


def test_waiting_asks_with_the_tag_and_tells_every_change() -> None:
    states = [("queued", "1"), ("queued", "1"), ("running", "2"), ("succeeded", "3")]

    def answer(request: httpx.Request) -> httpx.Response:
        state, version = states[len(script.asked) - 1]
        if request.headers.get("if-none-match") == f'"{version}"':
            return httpx.Response(304)
        body = {"id": "run_1", "state": state, "poll_after_ms": 0, "progress": {"phase": "score", "rows_done": 5}}
        return httpx.Response(200, json=body, headers={"ETag": f'"{version}"'})

    made, script = client(answer)
    seen: list[str] = []
    assert made.wait("run_1", lambda progress: seen.append(progress.phase))["state"] == "succeeded"
    assert seen == ["score", "score", "succeeded"]
    assert [request.headers.get("if-none-match") for request in script.asked] == [None, '"1"', '"1"', '"2"']


def test_waiting_no_longer_than_asked() -> None:
    body = {"id": "run_1", "state": "running", "poll_after_ms": 0, "progress": {}}
    made, _ = client(lambda request: httpx.Response(200, json=body, headers={"ETag": '"1"'}))
    with pytest.raises(TransportError, match="still running"):
        made.wait("run_1", timeout_s=0)


def test_a_failed_run_raises_its_own_words() -> None:
    body = {"id": "run_1", "state": "failed", "error": {"message": "no space left"}}
    made, _ = client(lambda request: httpx.Response(200, json=body))
    with pytest.raises(RunFailedError, match="no space left"):
        made.result("run_1")


@pytest.mark.parametrize(
    ("code", "resumable", "kind"),
    [
        ("bad_input", False, InputError),
        ("bad_recipe", False, RecipeError),
        ("bad_request", False, RequestError),
        ("integrity", False, IntegrityError),
        ("a code of tomorrow", False, RunFailedError),
        ("disk_full", True, RunFailedError),
        ("transport", True, RunFailedError),
    ],
)
def test_a_run_that_failed_on_a_wrong_request_is_one(code: str, resumable: bool, kind: type[Exception]) -> None:
    fault = {"code": code, "message": "the words", "resumable": resumable}
    made, _ = client(lambda request: httpx.Response(200, json={"id": "run_1", "state": "failed", "error": fault}))
    with pytest.raises(kind, match="run run_1 is failed: the words") as caught:
        made.result("run_1")
    assert type(caught.value) is kind


def test_a_wrong_recipe_is_refused_before_a_byte_is_sent(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}')
    made, script = client(lambda request: problem(422, "bad_recipe"))
    with pytest.raises(RecipeError):
        made.curate(tmp_path / "a.jsonl", recipe="nope", columns={"text": "body"})
    [asked] = script.asked
    assert asked.url.path == "/v1/recipes:validate"
    assert json.loads(asked.content) == {"recipe": "nope", "columns": {"text": "body"}}


def decisions(request: httpx.Request) -> httpx.Response:
    table = pa.table({"sample_id": pa.array([bytes([n]) * 16 for n in range(10)], pa.binary(16)), "n": range(10)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return httpx.Response(200, content=bytes(sink.getvalue()))


@pytest.mark.parametrize(("limit", "count"), [(None, 10), (0, 0), (1, 1), (3, 3), (4, 4), (99, 10)])
def test_decisions_are_read_as_rows_up_to_a_limit(limit: int | None, count: int) -> None:
    made, script = client(decisions)
    rows = list(made.decisions("run_1", action="drop", limit=limit))
    assert [row["n"] for row in rows] == list(range(count))
    assert all(row["sample_id"] == f"{row['n']:02x}" * 16 for row in rows)
    assert dict(script.asked[0].url.params) == {"action": "drop"}


def test_decisions_that_are_refused() -> None:
    made, _ = client(lambda request: problem(409, "conflict"))
    with pytest.raises(ConflictError):
        list(made.decisions("run_1"))


def test_lists_are_followed_to_their_end() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        start = int(request.url.params.get("cursor", 0))
        following = str(start + 2) if start < 4 else None
        return httpx.Response(200, json={"items": [{"n": start}, {"n": start + 1}], "next_cursor": following})

    made, _ = client(answer)
    assert [run["n"] for run in made.runs()] == [0, 1, 2, 3, 4, 5]
    assert [run["n"] for run in made.runs(limit=3)] == [0, 1, 2]


def test_feedback_leaves_out_what_names_a_job_and_counts_what_was_taken() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        table = pa.ipc.open_stream(request.content).read_all()
        assert table.schema.names == ["sample_id", "epoch", "step", "loss"]
        return httpx.Response(200, json={"accepted": table.num_rows - 1})

    made, script = client(answer)
    rows = 60_000
    table = pa.table(
        {
            "loss": pa.array([0.5] * rows, pa.float32()),
            "sample_id": pa.array([b"x" * 16] * rows, pa.binary(16)),
            "epoch": pa.array([0] * rows),
            "step": pa.array(range(rows)),
            "training_job": ["local"] * rows,
        }
    )
    assert made.feedback({"id": "trn_1"}, table) == rows - 2
    assert [request.url.path for request in script.asked] == ["/v1/training-jobs/trn_1/feedback"] * 2


def test_the_address_may_end_as_people_type_it() -> None:
    assert Client("http://h:1/").base_url == Client("http://h:1/v1").base_url == "http://h:1"


@pytest.mark.parametrize(
    ("address", "advice"),
    [("localhost:8700", "http://localhost:8700"), ("ftp://h:1", "http://h:1"), ("", "http://127.0.0.1:8700")],
)
def test_an_address_that_is_none_is_refused_at_once(address: str, advice: str) -> None:
    with pytest.raises(RequestError, match="is no address of a server") as refused:
        Client(address)
    assert str(refused.value).endswith(f"write it like {advice}")


def test_orders_that_are_none() -> None:
    made, script = client(lambda request: httpx.Response(200, json={}))
    for act in (made.stop, made.go_on):
        with pytest.raises(RequestError, match="is not one of"):
            act("run_1", "explode")
    assert not script.asked
