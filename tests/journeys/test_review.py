"""The loop that a person closes: a run asks about what it is least sure of, two reviewers answer, the answers make a
manifest and a trusted sample, the next run learns from it, and what it learned is promoted. Over REST alone."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.journeys.conftest import Served

pytestmark = pytest.mark.timeout(300)
RECIPE = {
    "task": "classification",
    "columns": {"id": "id", "text": "text", "label": "label"},
    "policy": {"kind": "learned", "rounds": 0, "review_budget": 60, "relabel_fdr": 0},
}


@pytest.fixture(scope="module")
def http(served: Served) -> Any:
    with httpx.Client(base_url=f"{served.url}/v1", timeout=60) as client:
        yield client


def until_done(http: httpx.Client, operation: str) -> dict[str, Any]:
    """Polls the one view over every kind of work."""
    for _ in range(1200):
        found = http.get(f"/operations/{operation}").json()
        if found["done"]:
            return found  # type: ignore[no-any-return]
        time.sleep(0.1)
    raise AssertionError(found)


def merged(files: dict[str, Path], folder: Path) -> Path:
    """The two input files as one."""
    path = folder / "whole.parquet"
    pq.write_table(pa.concat_tables([pq.read_table(files[name]) for name in "ab"]), path)
    return path


def curate(served: Served, http: httpx.Client, dataset: str, trusted: str) -> dict[str, Any]:
    run = http.post("/runs", json={"dataset": dataset, "recipe": RECIPE, "trusted": trusted}).json()["id"]
    assert until_done(http, run)["state"] == "succeeded", http.get(f"/runs/{run}/errors").text
    return http.get(f"/runs/{run}").json()  # type: ignore[no-any-return]


def review(http: httpx.Client, queue: str, truth: dict[str, str]) -> int:
    """Answers as the truth is, a few rows at a time, until nothing is left to ask."""
    answered = 0
    while items := http.post(f"/review/queues/{queue}:claim?n=7").json()["items"]:
        for item in items:
            right = truth[item["row"]["id"]]
            given = item["verdict"]["given_label"]
            said = {"action": "keep"} if right == given else {"action": "relabel", "label": right}
            sent = http.post(
                f"/review/items/{item['id']}/verdict", json=said, headers={"If-Match": f'"{item["lease"]["token"]}"'}
            )
            assert sent.status_code == 200, sent.text
            answered += 1
    return answered


def worth(row: dict[str, Any]) -> float:
    """Of a person's verdict on a row that may be relabelled, by what the run decided."""
    if row["action"] == "drop":
        return 1.0 if row["confidence"] < 1 else 0.0
    return 3 * (1 - (row["confidence"] if row["action"] == "relabel" else row["label_score"]))


def test_what_people_say_of_a_run_teaches_the_next(
    served: Served, http: httpx.Client, labelled: dict[str, Path], tmp_path: Path
) -> None:
    rows = pq.read_table(labelled["truth"]).to_pylist()
    truth = {row["id"]: row["truth"] for row in rows}
    dataset = served.client.create_dataset(served.client.upload(merged(labelled, tmp_path)))["id"]
    first = curate(served, http, dataset, served.client.upload(labelled["trusted"]))

    opened = http.post("/review/queues", json={"run": first["id"]})
    assert opened.status_code == 201, opened.text
    queue = opened.json()
    assert (queue["num_items"], queue["label"], queue["uncertain"]["items"]) == (60, "label", 48)
    known = set(pq.read_table(labelled["trusted"])["id"].to_pylist())
    items = http.get(f"/review/queues/{queue['id']}/items?limit=1000").json()["items"]
    assert not {item["row"]["id"] for item in items} & known  # nobody is asked what is known
    asked = [worth(item["verdict"]) for item in items if item["why"] == "uncertain"]
    others = [worth(row) for row in served.client.decisions(first["id"]) if row["id"] not in known]
    assert asked == sorted(others, reverse=True)[:48]

    assert review(http, queue["id"], truth) == 60
    told = http.get(f"/review/queues/{queue['id']}").json()
    assert (told["states"]["settled"], told["trusted_rows"], told["poll_after_ms"]) == (60, 60, None)
    assert told["uncertain"]["confirmed"] < 48  # the least sure rows are where it errs

    applied = http.post(f"/review/queues/{queue['id']}:apply", json={"note": "after review"}).json()
    labels = labels_of(http, served, applied["manifest"])
    assert all(labels[item["row"]["id"]] == truth[item["row"]["id"]] for item in items)

    data = http.get(f"/review/queues/{queue['id']}/trusted?with_trusted=true").content
    table = pq.read_table(io.BytesIO(data))
    assert table.num_rows == len(known) + 60
    assert all(truth[row["id"]] == row["label"] for row in table.to_pylist())
    more = tmp_path / "more.parquet"
    more.write_bytes(data)
    second = curate(served, http, dataset, served.client.upload(more))
    reasons = second["summary"]["reasons"]
    assert reasons["trusted_label"] > first["summary"]["reasons"]["trusted_label"]
    promoted(http, first, second)


def labels_of(http: httpx.Client, served: Served, manifest: str) -> dict[str, str]:
    """The labels training would see, from an export of the manifest."""
    export = http.post("/exports", json={"manifest": manifest, "format": "parquet"}).json()["id"]
    assert until_done(http, export)["state"] == "succeeded"
    labels = {}
    for file in http.get(f"/exports/{export}").json()["files"]:
        table = pq.read_table(io.BytesIO(httpx.get(f"{served.url}{file['url']}", timeout=60).content))
        labels.update(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))
    return labels


def promoted(http: httpx.Client, first: dict[str, Any], second: dict[str, Any]) -> None:
    """Both runs left a version of one policy; the champion is moved through the gate, and back."""
    [policy] = http.get("/policies").json()["items"]
    address = f"/policies/{policy['name']}"
    versions = http.get(f"{address}/versions").json()["items"]
    assert [row["run"] for row in versions] == [second["id"], first["id"]]
    assert [row["policy"] for row in versions] == [run["summary"]["policy"] for run in (second, first)]
    scorecard = http.get(f"{address}/versions/2").json()
    assert scorecard["scorecard"]["promise"]["basis"] == "audited"
    moved = http.put(f"{address}/aliases/candidate", json={"number": 2}, headers={"If-Match": '"0"'})
    assert moved.status_code == 200, moved.text
    asked = http.put(f"{address}/aliases/champion", json={"number": 2}, headers={"If-Match": '"0"'})
    assert asked.status_code == (200 if scorecard["promotable"] else 409), asked.text
    back = http.post(f"{address}/aliases/candidate:rollback", json={}, headers={"If-Match": '"1"'}).json()
    assert back["number"] is None
    assert http.get(f"{address}/versions/2/weights").content
