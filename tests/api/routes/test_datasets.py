"""Datasets: registered, validated by reading, previewed, hidden; and what may be read by reference."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from api.intake import allowed, preview
from curator.errors import InputError
from pipelines.plan import make_plan
from tests.api.conftest import RECIPE


def test_a_dataset_knows_its_rows_and_columns(house: Any, dataset: dict[str, Any]) -> None:
    assert (dataset["state"], dataset["rows"], dataset["poll_after_ms"]) == ("ready", 240, None)
    schema = house.one.get(f"/v1/datasets/{dataset['id']}/versions/1/schema").json()
    assert schema["columns"] == {"id": "string", "text": "string"}
    assert house.one.get(f"/v1/datasets/{dataset['id']}").json() == dataset


def test_polling_an_unchanged_dataset_costs_nothing(house: Any, dataset: dict[str, Any]) -> None:
    first = house.one.get(f"/v1/datasets/{dataset['id']}")
    again = house.one.get(f"/v1/datasets/{dataset['id']}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_first_rows_can_be_looked_at(house: Any, dataset: dict[str, Any]) -> None:
    shown = house.one.get(f"/v1/datasets/{dataset['id']}/versions/1/rows?limit=3").json()
    assert shown["columns"] == ["id", "text"]
    assert [row["id"] for row in shown["items"]] == ["doc0", "doc1", "doc2"]


def test_rows_of_a_deleted_upload_are_gone_and_no_folder_is_told(house: Any, send: Any) -> None:
    upload = send(house.one, b'{"text": "a"}\n', "gone.jsonl")
    made = house.one.post("/v1/datasets", json={"upload_ids": [upload]}).json()
    house.service.store.delete_folder(f"uploads/{upload}")
    refused = house.one.get(f"/v1/datasets/{made['id']}/versions/1/rows")
    told = refused.json()["detail"]
    assert refused.status_code == 422 and "file gone.jsonl" in told and "upload and register it again" in told
    assert str(house.service.settings.root) not in refused.text


def test_what_the_columns_hold_can_be_asked(house: Any, dataset: dict[str, Any]) -> None:
    told = house.one.get(f"/v1/datasets/{dataset['id']}/versions/1/statistics").json()
    assert (told["rows"], told["rows_read"]) == (240, 240)
    ids, texts = told["columns"]
    assert (ids["name"], ids["distinct"], ids["nulls"]) == ("id", 240, 0)
    assert texts["of"] == "length" and 0 < texts["min"] < texts["mean"] < texts["max"]


def test_long_texts_are_cut_and_said_to_be(house: Any, send: Any) -> None:
    upload = send(house.one, b'{"text": "' + b"a" * 5000 + b'", "n": 1}\n', "long.jsonl")
    made = house.one.post("/v1/datasets", json={"upload_ids": [upload]}).json()
    shown = house.one.get(f"/v1/datasets/{made['id']}/versions/1/rows").json()
    assert len(shown["items"][0]["text"]) == 2000
    assert shown["cut"] == [["text"]]


@pytest.mark.parametrize(
    ("data", "name", "word"),
    [
        (b"PAR1 not really", "a.parquet", "parquet"),
        (b'{"text": "a"}\n{broken\n', "a.jsonl", "row 1"),
        (b"\x1f\x8b\x08 no gzip", "a.jsonl.gz", "gz"),
    ],
)
def test_bytes_that_are_not_what_the_name_says_are_rejected(
    house: Any, send: Any, data: bytes, name: str, word: str
) -> None:
    made = house.one.post("/v1/datasets", json={"upload_ids": [send(house.one, data, name)]})
    assert made.status_code == 202
    assert made.json()["state"] == "rejected", made.text
    assert made.json()["error"]["code"] == "bad_input"
    assert word in made.json()["error"]["message"]
    assert str(house.service.store.base) not in made.text
    run = house.one.post("/v1/runs", json={"dataset": made.json()["id"], "recipe": "text"})
    assert (run.status_code, run.json()["code"]) == (409, "conflict")
    assert house.one.get(f"/v1/datasets/{made.json()['id']}/versions/1/rows").status_code == 409


def test_several_uploads_make_one_dataset(house: Any, send: Any) -> None:
    ids = [send(house.one, f'{{"text": "number {n}"}}\n'.encode(), f"{n}.jsonl") for n in range(3)]
    made = house.one.post("/v1/datasets", json={"upload_ids": ids}).json()
    assert (made["state"], made["rows"], made["name"]) == ("ready", 3, "0.jsonl and 2 more")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"upload_ids": [], "uri": None},
        {"upload_ids": ["upl_1"], "uri": "/data"},
        {"uri": "/x", "columns": {"colour": "c"}},
    ],
)
def test_a_dataset_has_one_origin(house: Any, body: dict[str, Any]) -> None:
    assert house.one.post("/v1/datasets", json=body).status_code == 422


def test_an_incomplete_upload_is_no_dataset(house: Any) -> None:
    made = house.one.post("/v1/uploads", json={"name": "a.csv", "size": 8, "sha256": "0" * 64}).json()["id"]
    assert house.one.post("/v1/datasets", json={"upload_ids": [made]}).status_code == 409


def test_a_deleted_dataset_is_hidden(house: Any, send: Any) -> None:
    made = house.one.post("/v1/datasets", json={"upload_ids": [send(house.one, b'{"text": "a"}\n', "a.jsonl")]}).json()
    assert house.one.delete(f"/v1/datasets/{made['id']}").status_code == 204
    assert house.one.get(f"/v1/datasets/{made['id']}").status_code == 404
    assert made["id"] not in {item["id"] for item in house.one.get("/v1/datasets").json()["items"]}


def test_a_dataset_gets_another_version_and_keeps_the_first(house: Any, send: Any) -> None:
    first = send(house.one, b'{"text": "a"}\n', "a.jsonl")
    made = house.one.post("/v1/datasets", json={"upload_ids": [first]}).json()
    place, key = f"/v1/datasets/{made['id']}/versions", {"Idempotency-Key": f"second of {made['id']}"}
    body = {"upload_ids": [send(house.one, b'{"text": "b"}\n{"text": "c"}\n', "b.jsonl")]}
    added = house.one.post(place, json=body, headers=key)
    assert (added.status_code, added.headers["location"]) == (202, f"{place}/2")
    assert house.one.post(place, json=body, headers=key).json() == added.json()
    told = house.one.get(f"{place}/2").json()
    assert told == added.json()
    assert (told["dataset"], told["version"], told["state"], told["rows"]) == (made["id"], 2, "ready", 2)
    assert house.one.get(f"/v1/datasets/{made['id']}").json()["version"] == 2
    newest = house.one.get(f"{place}?limit=1").json()
    oldest = house.one.get(place, params={"limit": 1, "cursor": newest["next_cursor"]}).json()
    assert [row["version"] for row in newest["items"] + oldest["items"]] == [2, 1] and oldest["next_cursor"] is None
    assert house.one.get(f"{place}/1/rows").json()["items"] == [{"text": "a"}]
    assert house.one.get(f"{place}/3").status_code == 404
    assert house.one.post(place, json={"upload_ids": [], "uri": None}).status_code == 422
    assert house.one.post(place, json={**body, "format": "jsonl"}).status_code == 422  # the extension says it
    assert house.one.post(place, json={"uri": "/etc/passwd"}).status_code == 422
    house.one.delete(f"/v1/datasets/{made['id']}")
    assert {house.one.get(place).status_code, house.one.post(place, json=body).status_code} == {404}


def test_a_run_takes_the_newest_ready_version_or_the_one_it_names(house: Any, send: Any) -> None:
    made = house.one.post("/v1/datasets", json={"upload_ids": [send(house.one, b'{"text": "a"}\n', "a.jsonl")]}).json()
    place = f"/v1/datasets/{made['id']}/versions"

    def used(**more: Any) -> Any:
        return house.one.post("/v1/runs", json={"dataset": made["id"], "recipe": "text", **more})

    assert used().json()["dataset_version"] == 1
    house.one.post(place, json={"upload_ids": [send(house.one, b'{"text": "b"}\n', "b.jsonl")]})
    assert used().json()["dataset_version"] == 2
    bad = house.one.post(place, json={"upload_ids": [send(house.one, b"PAR1 not really", "a.parquet")]}).json()
    assert (bad["version"], bad["state"]) == (3, "rejected")
    assert used().json()["dataset_version"] == 2
    assert used(dataset_version=1).json()["dataset_version"] == 1
    refused = used(dataset_version=3)
    assert refused.status_code == 409 and "version 3 of dataset" in refused.json()["detail"]
    assert used(dataset_version=4).status_code == 404
    assert used(dataset_version=0).status_code == 422
    dry = house.one.post("/v1/recipes:dry-run", json={"dataset": made["id"], "recipe": RECIPE})
    assert dry.status_code == 200, dry.text


def test_a_version_that_is_not_there(house: Any, dataset: dict[str, Any]) -> None:
    assert house.one.get(f"/v1/datasets/{dataset['id']}/versions/2/schema").status_code == 404


def test_a_validation_that_a_restart_stopped_begins_again(house: Any, send: Any) -> None:
    path = house.service.uploads.path(house.tenant, send(house.one, b'{"text": "a"}\n', "a.jsonl"))
    made, _ = house.service.catalog.datasets.create(house.tenant, "left over", "text", {}, [path])
    state = "validating"
    while state == "validating":
        state = house.one.get(f"/v1/datasets/{made.id}").json()["state"]
    assert state == "ready"


def test_a_place_the_server_may_read(house: Any, inputs_folder: Path) -> None:
    (inputs_folder / "rows.jsonl").write_text('{"text": "from a folder"}\n')
    made = house.one.post("/v1/datasets", json={"uri": str(inputs_folder / "rows.jsonl")}).json()
    assert (made["state"], made["rows"], made["name"]) == ("ready", 1, "rows.jsonl")


@pytest.mark.parametrize(
    "uri",
    [
        "/etc/passwd",
        "relative.csv",
        "file:///etc/passwd",
        "http://169.254.169.254/latest",
        "s3://data-private/x.csv",
        "s3://data/../data-private/x.csv",
        "gs://data/x.csv",
        "filecache::s3://data/x",
        "s3://data/x?endpoint_override=169.254.169.254",
        "s3://data/x#?region=a",
        "s3://data/%2e%2e/data-private/x",
    ],
)
def test_by_default_nothing_may_be_read_by_reference(uri: str) -> None:
    for roots in ((), ("/srv/data", "s3://data")):
        with pytest.raises(InputError):
            allowed(uri, roots)


def test_a_prefix_opens_what_is_below_it_and_no_more() -> None:
    assert allowed("s3://data/a.parquet", ("s3://data",)) == "s3://data/a.parquet"
    assert allowed("s3://data/", ("s3://data/",)) == "s3://data/"
    assert allowed("s3://data/a.csv", ("s3://data?region=eu",)) == "s3://data/a.csv?region=eu"


def test_a_link_out_of_the_folder_leads_nowhere(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside.csv"
    inside.mkdir()
    outside.write_text("a\n1\n")
    os.symlink(outside, inside / "link.csv")
    for uri in (inside / "link.csv", inside / ".." / "outside.csv"):
        with pytest.raises(InputError, match="WINNOW_INPUT_ROOTS"):
            allowed(str(uri), (str(inside),))
    (inside / "own.csv").write_text("a\n1\n")
    assert allowed(str(inside / "own.csv"), (str(inside),)) == os.path.realpath(inside / "own.csv")


def test_a_neighbour_of_the_folder_is_not_in_it(tmp_path: Path) -> None:
    (tmp_path / "data-private").mkdir()
    with pytest.raises(InputError):
        allowed(str(tmp_path / "data-private"), (str(tmp_path / "data"),))


@pytest.mark.parametrize("named", ["", "/*.jsonl"])
def test_a_link_in_a_folder_that_may_be_read_leads_nowhere_else(
    house: Any, inputs_folder: Path, tmp_path: Path, named: str
) -> None:
    (tmp_path / "secret.jsonl").write_text('{"text": "of somebody else"}\n')
    folder = inputs_folder / f"linked{len(named)}"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "mine"}\n')
    os.symlink(tmp_path / "secret.jsonl", folder / "b.jsonl")
    made = house.one.post("/v1/datasets", json={"uri": f"{folder}{named}"}).json()
    assert made["state"] == "rejected" and "a link leads out" in made["error"]["message"]
    os.remove(folder / "b.jsonl")
    made = house.one.post("/v1/datasets", json={"uri": f"{folder}{named}"}).json()
    assert (made["state"], made["rows"]) == ("ready", 1)
    body = {"dataset": made["id"], "recipe": {"task": "text", "columns": {"text": "text"}, "process": []}}
    run = house.one.post("/v1/runs", json=body).json()
    os.symlink(tmp_path / "secret.jsonl", folder / "c.jsonl")  # after the dataset was looked at
    request = house.service.catalog.runs.get(house.tenant, run["id"]).request
    with pytest.raises(InputError, match="a link leads out"):
        make_plan(request)
    house.one.post(f"/v1/runs/{run['id']}:cancel")


def test_first_rows_come_from_the_datasets_own_files(house: Any, inputs_folder: Path) -> None:
    """What they are is told by the process that read the file, and the file may have taken it over."""
    (inputs_folder / "own.jsonl").write_text('{"text": "mine"}\n')
    made = house.one.post("/v1/datasets", json={"uri": str(inputs_folder / "own.jsonl")}).json()
    version = house.service.catalog.datasets.version(house.tenant, made["id"])
    assert preview(version, 1)[0].num_rows == 1
    (inputs_folder / "other.jsonl").write_text('{"text": "of somebody else"}\n')
    statistics = json.loads(json.dumps(version.statistics).replace("own.jsonl", "other.jsonl"))
    with pytest.raises(InputError, match="none of its own"):
        preview(version.model_copy(update={"statistics": statistics}), 1)
