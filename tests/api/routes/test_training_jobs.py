"""Training jobs: opened, cancelled, and told once what was learnt of each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curator.catalog import Scope

ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def losses(rows: int = 5, epoch: int = 0, **columns: Any) -> pa.Table:
    held = {
        "sample_id": pa.array([bytes([n]) * 16 for n in range(rows)], pa.binary(16)),
        "epoch": pa.array([epoch] * rows, pa.int32()),
        "step": pa.array(range(rows), pa.int64()),
        "loss": pa.array(np.linspace(0.1, 2, rows), pa.float32()),
    }
    return pa.table({**held, **columns})


@pytest.fixture
def job(house: Any, finished: dict[str, Any]) -> dict[str, Any]:
    body = {"manifest": finished["summary"]["manifest"], "mode": "external", "name": "a test"}
    made = house.one.post("/v1/training-jobs", json=body)
    assert made.status_code == 202, made.text
    return made.json()  # type: ignore[no-any-return]


def test_an_external_job_runs_from_its_birth(house: Any, job: dict[str, Any], finished: dict[str, Any]) -> None:
    assert (job["state"], job["name"], job["manifest"]) == ("running", "a test", finished["summary"]["manifest"])
    first = house.one.get(f"/v1/training-jobs/{job['id']}")
    assert first.json() == job
    again = house.one.get(f"/v1/training-jobs/{job['id']}", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("entry", ["text-classifier", "image-classifier", "language-model"])
def test_a_managed_job_waits_with_its_recipe_whole(house: Any, finished: dict[str, Any], entry: str) -> None:
    body = {"manifest": finished["summary"]["manifest"], "entry": entry, "recipe": {"epochs": 2}}
    made = house.one.post("/v1/training-jobs", json=body)
    assert made.status_code == 202, made.text
    spec = made.json()["spec"]
    assert (made.json()["state"], spec["recipe"]["kind"], spec["recipe"]["epochs"]) == ("queued", entry, 2)
    cancelled = house.one.post(f"/v1/training-jobs/{made.json()['id']}:cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    assert house.one.post(f"/v1/training-jobs/{made.json()['id']}:cancel").status_code == 409


def test_a_job_on_a_plan_is_on_its_manifest(house: Any, finished: dict[str, Any]) -> None:
    manifest = finished["summary"]["manifest"]
    plan = house.one.post("/v1/epoch-plans", json={"manifest": manifest, "global_batch_size": 8}).json()
    made = house.one.post("/v1/training-jobs", json={"plan": plan["id"], "mode": "external"}).json()
    assert (made["plan"], made["manifest"]) == (plan["id"], manifest)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"mode": "external"}, 422),
        ({"entry": None}, 422),
        ({"entry": "rm -rf"}, 422),
        ({"entry": "os.system"}, 422),
        ({"recipe": {"kind": "language-model"}}, 422),
        ({"recipe": {"epoch": 3}}, 422),
        ({"recipe": "nothing"}, 422),
        ({"recipe": "/etc/passwd"}, 422),
        ({"manifest": "man_nobody"}, 404),
        ({"manifest": None}, 422),
        ({"code": "x"}, 422),
    ],
)
def test_jobs_that_cannot_be(house: Any, finished: dict[str, Any], body: dict[str, Any], status: int) -> None:
    base = {"manifest": finished["summary"]["manifest"], "entry": "text-classifier"}
    answer = house.one.post("/v1/training-jobs", json={**base, **body})
    assert answer.status_code == status, answer.text


def test_feedback_counts_once_however_often_it_is_sent(house: Any, job: dict[str, Any]) -> None:
    address, data = f"/v1/training-jobs/{job['id']}/feedback", stream(losses())
    first, second = (house.one.post(address, content=data, headers=ARROW).json() for _ in range(2))
    assert (first["rows"], first["accepted"], first["clipped"]) == (5, 5, 0)
    assert second == first  # the same batch, the same receipt
    more = house.one.post(address, content=stream(losses(7)), headers=ARROW).json()
    assert (more["rows"], more["accepted"]) == (7, 2)
    later = house.one.post(address, content=stream(losses(5, epoch=1)), headers=ARROW).json()
    assert later["accepted"] == 5


def test_json_and_arrow_say_the_same(house: Any, job: dict[str, Any]) -> None:
    address = f"/v1/training-jobs/{job['id']}/feedback"
    rows = [{**row, "sample_id": row["sample_id"].hex()} for row in losses().to_pylist()]
    told = house.one.post(address, json={"rows": rows}).json()
    assert told["accepted"] == 5
    assert house.one.post(address, content=stream(losses()), headers=ARROW).json()["digest"] == told["digest"]


def test_losses_are_clipped_and_counted(house: Any, job: dict[str, Any]) -> None:
    wild = losses(4, loss=pa.array([-3.0, 0.5, 99.0, 1e30], pa.float32()))
    answer = house.one.post(f"/v1/training-jobs/{job['id']}/feedback", content=stream(wild), headers=ARROW).json()
    assert (answer["accepted"], answer["clipped"]) == (4, 3)
    with house.service.store.open_input(f"feedback/{job['id']}/{answer['digest']}.arrow") as source:
        kept = pa.ipc.open_file(source).read_all()["loss"].to_pylist()
    assert kept == [0.0, 0.5, 20.0, 20.0]


@pytest.mark.parametrize(
    ("table", "word"),
    [
        (losses(3, loss=pa.array([0.1, float("nan"), 0.2], pa.float32())), "row 1"),
        (losses(3, loss=pa.array([0.1, None, 0.2], pa.float32())), "row 1"),
        (losses(3).drop_columns(["loss"]), "missing"),
        (losses(3, colour=pa.array(["a"] * 3)), "colour"),
        (losses(3, sample_id=pa.array(["a", "b", "c"])), "sample_id"),
        (losses(3, training_job=pa.array(["trn_somebody_else"] * 3)), "trn_somebody_else"),
        (losses(3, plan=pa.array(["epl_1", "epl_2", "epl_1"])), "one stream"),
        (losses(3, epoch=-1), "negative"),
    ],
)
def test_feedback_that_is_not_taken(house: Any, job: dict[str, Any], table: pa.Table, word: str) -> None:
    answer = house.one.post(f"/v1/training-jobs/{job['id']}/feedback", content=stream(table), headers=ARROW)
    assert answer.status_code in (400, 422), answer.text
    assert word in answer.json()["detail"]
    assert not house.service.catalog.feedback.batches(house.tenant, job["id"])


@pytest.mark.parametrize("content", [b"", b"no arrow", b"\xff\xff\xff\xff\x10\x00\x00\x00"])
def test_bytes_that_are_no_stream(house: Any, job: dict[str, Any], content: bytes) -> None:
    answer = house.one.post(f"/v1/training-jobs/{job['id']}/feedback", content=content, headers=ARROW)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_input"), answer.text


@pytest.mark.parametrize(
    "row", [{"loss": "NaN"}, {"sample_id": "xyz"}, {"epoch": -1}, {"colour": 1}, {"training_job": "trn_other"}]
)
def test_json_rows_that_are_not_taken(house: Any, job: dict[str, Any], row: dict[str, Any]) -> None:
    good = {"sample_id": "0" * 32, "epoch": 0, "step": 1, "loss": 0.5}
    answer = house.one.post(f"/v1/training-jobs/{job['id']}/feedback", json={"rows": [{**good, **row}]})
    assert answer.status_code == 422, answer.text


def test_feedback_needs_the_tenants_key_with_its_scope_and_a_job_that_goes_on(house: Any, job: dict[str, Any]) -> None:
    data, address = stream(losses()), f"/v1/training-jobs/{job['id']}/feedback"
    assert house.two.post(address, content=data, headers=ARROW).status_code == 404
    assert house.client([Scope.WRITE]).post(address, content=data, headers=ARROW).status_code == 403
    assert house.client([Scope.FEEDBACK]).post(address, content=data, headers=ARROW).status_code == 200
    house.one.post(f"/v1/training-jobs/{job['id']}:cancel")
    late = house.one.post(address, content=stream(losses(9)), headers=ARROW)
    assert (late.status_code, late.json()["code"]) == (409, "conflict")


def test_jobs_are_listed(house: Any, job: dict[str, Any]) -> None:
    assert house.one.get("/v1/training-jobs?limit=1").json()["items"][0] == job


def test_a_run_may_learn_from_what_a_job_reported(
    house: Any, job: dict[str, Any], dataset: dict[str, Any], send: Any
) -> None:
    recipe = {"task": "text", "columns": {"text": "text"}, "policy": {"kind": "learned"}}
    body = {"dataset": dataset["id"], "recipe": recipe, "feedback": [job["id"]]}
    early = house.one.post("/v1/runs", json=body)
    assert early.status_code == 400 and "no losses yet" in early.json()["detail"]
    house.one.post(f"/v1/training-jobs/{job['id']}/feedback", content=stream(losses()), headers=ARROW)
    made = house.one.post("/v1/runs", json=body)
    assert made.status_code == 202, made.text
    assert made.json()["feedback"] == [job["id"]]
    snapshot = house.service.catalog.runs.get(house.tenant, made.json()["id"]).request.feedback
    assert house.service.store.exists(snapshot)
    house.one.post(f"/v1/runs/{made.json()['id']}:cancel")
    upload = send(house.two, b'{"text": "of the other tenant"}\n', "a.jsonl")
    others = house.two.post("/v1/datasets", json={"upload_ids": [upload]}).json()["id"]
    stolen = house.two.post("/v1/runs", json={**body, "dataset": others})
    assert (stolen.status_code, stolen.json()["code"]) == (404, "not_found")


def test_losses_by_difficulty_are_told_once_and_move_an_adaptive_plan(house: Any, finished: dict[str, Any]) -> None:
    body = {"manifest": finished["summary"]["manifest"], "curriculum": "adaptive", "num_epochs": 3, "seed": 93}
    plan = house.one.post("/v1/epoch-plans", json={**body, "global_batch_size": 8}).json()["id"]
    job = house.one.post("/v1/training-jobs", json={"plan": plan, "mode": "external"}).json()["id"]
    address, losses = f"/v1/training-jobs/{job}/feedback", {"easy": 1.5, "medium": 2.0, "hard": None}
    assert house.one.get(f"/v1/epoch-plans/{plan}/epochs/1").status_code == 409
    told = [house.one.post(address, json={"by_difficulty": [{"epoch": 0, "losses": losses}]}) for _ in range(2)]
    assert [answer.json()["epochs"] for answer in told] == [1, 0], told[0].text
    assert house.one.get(f"/v1/epoch-plans/{plan}/epochs/1").status_code == 200
    assert house.one.get(f"/v1/epoch-plans/{plan}/journal").json()["entries"][1]["losses"] == losses
    other = house.one.post(address, json={"by_difficulty": [{"epoch": 0, "losses": {"easy": 9.0}}]})
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    read = house.one.get(address).json()
    assert (read["rows"], read["by_difficulty"]) == (0, [{"epoch": 0, "losses": losses}])


def test_both_kinds_of_losses_in_one_call(house: Any, finished: dict[str, Any]) -> None:
    manifest = finished["summary"]["manifest"]
    job = house.one.post("/v1/training-jobs", json={"manifest": manifest, "mode": "external"}).json()["id"]
    row = {"sample_id": "0" * 32, "epoch": 0, "step": 1, "loss": 0.5}
    both = {"rows": [row], "by_difficulty": [{"epoch": 0, "losses": {"easy": 0.5}}]}
    answer = house.one.post(f"/v1/training-jobs/{job}/feedback", json=both).json()
    assert (answer["accepted"], answer["epochs"]) == (1, 1)
    assert house.one.get(f"/v1/training-jobs/{job}/feedback").json()["rows"] == 1
    for wrong in ({}, {"by_difficulty": [{"epoch": 0, "losses": {"easy": -1}}]}, {"by_difficulty": [{"epoch": -1}]}):
        assert house.one.post(f"/v1/training-jobs/{job}/feedback", json=wrong).status_code == 422
