"""Decisions: every page and the Arrow stream tell the same rows; overturned verdicts leave a trail."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

ARROW = "application/vnd.apache.arrow.stream"


def pages(house: Any, run: str, query: str = "", limit: int = 37) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        answer = house.one.get(f"/v1/runs/{run}/decisions?limit={limit}{query}{cursor}")
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        assert len(items) <= 240, "pages repeat themselves"
        if answer.json()["next_cursor"] is None:
            return items
        assert len(answer.json()["items"]) == limit
        cursor = f"&cursor={answer.json()['next_cursor']}"


def arrow(house: Any, run: str, query: str = "") -> pa.Table:
    answer = house.one.get(f"/v1/runs/{run}/decisions?{query}", headers={"Accept": ARROW})
    assert (answer.status_code, answer.headers["content-type"]) == (200, ARROW)
    assert answer.headers["content-disposition"].startswith("attachment")
    return pa.ipc.open_stream(answer.content).read_all()


def test_every_row_is_there_once_in_input_order(house: Any, finished: dict[str, Any]) -> None:
    rows = pages(house, finished["id"])
    assert [row["id"] for row in rows] == [f"doc{number}" for number in range(240)]
    assert len({row["sample_id"] for row in rows}) == 240
    assert all((row["action"] == "drop") == (row["reason"] is not None) for row in rows)


@pytest.mark.parametrize("limit", [1, 7, 100, 240, 1000])
def test_pages_of_any_size_tell_the_same(house: Any, finished: dict[str, Any], limit: int) -> None:
    query = "&action=drop"
    assert pages(house, finished["id"], query, limit) == pages(house, finished["id"], query)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "action=keep",
        "action=drop",
        "reason=exact_duplicate",
        "difficulty=hard",
        "min_confidence=1",
        "action=relabel",
    ],
)
def test_the_arrow_stream_tells_what_the_pages_tell(house: Any, finished: dict[str, Any], query: str) -> None:
    table = arrow(house, finished["id"], query)
    rows = pages(house, finished["id"], f"&{query}" if query else "")
    assert [value.hex() for value in table["sample_id"].to_pylist()] == [row["sample_id"] for row in rows]
    assert table["reason"].to_pylist() == [row["reason"] for row in rows]


@pytest.mark.parametrize("query", ["", "&action=drop", "&reason=too_short", "&difficulty=hard", "&min_confidence=1"])
def test_signals_stand_beside_their_rows(house: Any, finished: dict[str, Any], query: str) -> None:
    plain, rows = pages(house, finished["id"], query), pages(house, finished["id"], f"{query}&signals=true&rows=true")
    assert [row["sample_id"] for row in rows] == [row["sample_id"] for row in plain]
    assert [row["signal.num_chars"] for row in rows] == [len(row["row"]["text"]) for row in rows]
    table = arrow(house, finished["id"], f"signals=true{query}")
    assert table.drop_columns([n for n in table.column_names if n.startswith("signal.")]).equals(
        arrow(house, finished["id"], query)
    )
    assert table["signal.num_chars"].to_pylist() == [row["signal.num_chars"] for row in rows]


def test_signals_that_are_gone_are_refused_before_the_answer_begins(
    house: Any, finished: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.job import Job

    monkeypatch.setattr(Job, "side_name", lambda job, unit, kind: "nowhere.arrow")
    for headers in ({}, {"Accept": ARROW}):
        answer = house.one.get(f"/v1/runs/{finished['id']}/decisions?signals=true", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert house.service.settings.root not in answer.text


def test_filters_agree_with_the_summary(house: Any, finished: dict[str, Any]) -> None:
    summary = finished["summary"]
    assert len(pages(house, finished["id"], "&action=drop")) == summary["dropped"]
    for reason, count in summary["reasons"].items():
        assert arrow(house, finished["id"], f"reason={reason}").num_rows == count
    for difficulty, count in summary["difficulty"].items():
        assert arrow(house, finished["id"], f"difficulty={difficulty}").num_rows == count


def test_rows_come_with_their_data_kept_or_dropped(house: Any, finished: dict[str, Any]) -> None:
    page = house.one.get(f"/v1/runs/{finished['id']}/decisions?rows=true&limit=1000").json()
    found = page["items"]
    assert page["content"] == ["text"]
    assert {item["action"] for item in found} == {"keep", "drop"}
    assert all(item["row"]["id"] == item["id"] for item in found)
    short = next(item for item in found if item["reason"] == "too_short")
    assert short["row"]["text"].startswith("Document ")


def test_a_duplicate_names_what_it_repeats(house: Any, finished: dict[str, Any]) -> None:
    by_id = {row["sample_id"]: row for row in pages(house, finished["id"], "&rows=true")}
    repeats = [row for row in by_id.values() if row["reason"] == "exact_duplicate"]
    assert repeats
    for row in repeats:
        assert by_id[row["duplicate_of"]]["row"]["text"] == row["row"]["text"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("action=delete", 422), ("difficulty=x", 422), ("min_confidence=2", 422), ("min_confidence=nan", 422),
        ("cursor=WzEwMCwgMF0", 400), ("cursor=%00", 400), ("limit=0", 422), ("reasno=x", 400),
    ],
)  # fmt: skip
def test_a_wrong_question_is_said_to_be_one(house: Any, finished: dict[str, Any], query: str, status: int) -> None:
    assert house.one.get(f"/v1/runs/{finished['id']}/decisions?{query}").status_code == status


def test_an_unfinished_run_has_no_decisions_yet(house: Any, queued: dict[str, Any]) -> None:
    for headers in ({}, {"Accept": ARROW}):
        answer = house.one.get(f"/v1/runs/{queued['id']}/decisions", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    change = {"changes": [{"sample_id": "0" * 32, "action": "drop"}]}
    assert house.one.post(f"/v1/runs/{queued['id']}/decisions:override", json=change).status_code == 409
    body = {"set": {"length.min_chars": 5}}
    assert house.one.post(f"/v1/runs/{queued['id']}:what-if", json=body).status_code == 409


def test_overturned_verdicts_make_a_new_manifest_and_a_trail(house: Any, finished: dict[str, Any]) -> None:
    address = f"/v1/runs/{finished['id']}/decisions"
    kept, dropped = (house.one.get(f"{address}?action={a}&limit=2").json()["items"] for a in ("keep", "drop"))
    base = finished["summary"]["manifest"]
    changes = [
        {"sample_id": dropped[0]["sample_id"], "action": "keep"},
        {"sample_id": kept[0]["sample_id"], "action": "drop"},
        {"sample_id": kept[1]["sample_id"], "action": "drop"},
    ]
    made = house.one.post(f"{address}:override", json={"changes": changes, "note": "looked at them", "manifest": base})
    assert made.status_code == 201, made.text
    assert made.headers["location"] == f"/v1/manifests/{made.json()['manifest']}"
    assert made.json()["parent"] == base
    before = sum(finished["summary"]["difficulty"].values())
    assert sum(made.json()["live"].values()) == before - 1
    diff = house.one.get(f"{made.headers['location']}/diff?base={base}").json()
    assert (diff["rows_revived"], diff["rows_dropped"]) == (1, 2)
    assert not diff["added_shards"] and not diff["removed_shards"]
    back = house.one.get(f"/v1/manifests/{base}/diff?base={made.json()['manifest']}").json()
    assert (back["rows_revived"], back["rows_dropped"]) == (2, 1)
    lineage = house.one.get(f"{made.headers['location']}/lineage").json()["items"]
    assert [item["id"] for item in lineage] == [made.json()["manifest"], base]
    history = house.one.get(f"/v1/samples/{dropped[0]['sample_id']}/history").json()["items"]
    mine = next(item for item in history if item["run"] == finished["id"])
    assert mine["verdict"]["action"] == "drop"
    assert [(c["manifest"], c["note"], c["change"]["action"]) for c in mine["overrides"]][-1] == (
        made.json()["manifest"], "looked at them", "keep",
    )  # fmt: skip
    following = house.one.post(f"{address}:override", json={"changes": changes[:1]}).json()
    assert following["parent"] == made.json()["manifest"]  # by default the newest is changed further


def test_overturning_twice_with_a_key_happens_once(house: Any, finished: dict[str, Any]) -> None:
    address, key = f"/v1/runs/{finished['id']}/decisions", {"Idempotency-Key": "override-once"}
    sample = house.one.get(f"{address}?action=keep&limit=1").json()["items"][0]["sample_id"]
    body = {"changes": [{"sample_id": sample, "action": "drop"}], "note": "once"}
    first, second = (house.one.post(f"{address}:override", json=body, headers=key) for _ in range(2))
    assert first.json() == second.json()
    items = house.one.get(f"/v1/samples/{sample}/history?run={finished['id']}").json()["items"]
    assert [change["note"] for change in items[0]["overrides"]].count("once") == 1


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"changes": []}, 422, "changes"),
        ({"changes": [{"sample_id": "zz", "action": "drop"}]}, 422, "sample_id"),
        ({"changes": [{"sample_id": "0" * 32, "action": "drop"}]}, 404, "in no shard"),
        ({"changes": [{"sample_id": "0" * 32, "action": "drop"}] * 2}, 400, "more than once"),
        ({"changes": [{"sample_id": "0" * 32, "action": "relabel", "label": 1}]}, 400, "no label column"),
        ({"changes": [{"sample_id": "0" * 32, "action": "drop"}], "manifest": "man_0"}, 404, "man_0"),
    ],
)
def test_what_cannot_be_overturned(
    house: Any, finished: dict[str, Any], body: dict[str, Any], status: int, word: str
) -> None:
    answer = house.one.post(f"/v1/runs/{finished['id']}/decisions:override", json=body)
    assert answer.status_code == status, answer.text
    assert word in answer.json()["detail"]


def test_what_if_changes_nothing_but_the_answer(house: Any, finished: dict[str, Any]) -> None:
    address = f"/v1/runs/{finished['id']}"
    before = house.one.get(f"{address}/metrics").json()
    same = house.one.post(f"{address}:what-if", json={"set": {"length.min_chars": 60}}).json()
    assert (same["kept"], same["newly_kept"], same["newly_dropped"]) == (finished["summary"]["kept"], 0, 0)
    loose = house.one.post(f"{address}:what-if", json={"set": {"length.min_chars": 0}}).json()
    assert loose["examples"]["newly_kept"][0] == "doc3"
    assert loose["newly_kept"] > 0 and loose["reasons"].get("too_short", 0) == 0
    assert house.one.get(f"{address}/metrics").json() == before


@pytest.mark.parametrize(
    "setting", [{"nothing.min_chars": 1}, {"length.colour": 1}, {"length": 1}, {"length.min_chars": "x"}]
)
def test_what_if_refuses_what_the_recipe_lacks(house: Any, finished: dict[str, Any], setting: dict[str, Any]) -> None:
    answer = house.one.post(f"/v1/runs/{finished['id']}:what-if", json={"set": setting})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_recipe"), answer.text


def test_a_sample_nobody_judged_has_no_history(house: Any, finished: dict[str, Any]) -> None:
    nobody = "f" * 32
    assert house.one.get(f"/v1/samples/{nobody}/history").json()["items"] == []
    assert house.one.get(f"/v1/samples/{nobody}/history?run={finished['id']}").status_code == 404
    assert house.one.get("/v1/samples/xyz/history").status_code == 400
