"""The trusted sample: what counts as good and bad for each task, and files that cannot be meant."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipelines.phases.trusted as phase
from curator.errors import TrustedError
from curator.recipe import parse
from curator.run import RunRequest
from curator.sample_id import from_ids
from pipelines.phases.validate import Validated, validate
from pipelines.plan import make_plan

INSTRUCTION = {"instruction": "ask", "input": "input", "output": "answer"}
EXCHANGES = [
    {"id": n, "ask": f"Question {n}?", "input": None if n % 2 else "", "answer": f"Answer {n}."} for n in range(40)
]

WATCHED = pa.proxy_memory_pool(pa.default_memory_pool())
"""Outlives every buffer taken from it."""


def joined(folder: Path, rows: list[dict[str, Any]], trusted: Any, **recipe: Any) -> Validated:
    pq.write_table(pa.Table.from_pylist(rows), folder / "data.parquet", row_group_size=16)
    sample = trusted if isinstance(trusted, pa.Table) else pa.Table.from_pylist(trusted)
    pq.write_table(sample, folder / "trusted.parquet")
    chosen = parse({"unit_rows": 64, "policy": {"kind": "rules"}, **recipe}).model_dump(mode="json")
    request = RunRequest(inputs=(str(folder / "data.parquet"),), recipe=chosen, trusted=str(folder / "trusted.parquet"))
    return validate(make_plan(request))


def exchanges(folder: Path, trusted: Any) -> tuple[dict[int, int], list[str]]:
    """(truth by the user's id, warnings) of instruction data."""
    validated = joined(folder, EXCHANGES, trusted, task="instruction", columns=INSTRUCTION)
    assert validated.trusted is not None
    names = {bytes(key): n for n, key in enumerate(from_ids(pa.array(range(40))).to_pylist())}
    found = {names[row["sample_id"]]: row["truth"] for row in validated.trusted.to_pylist()}
    return found, validated.outputs["warnings"]


def labelled(folder: Path, trusted: Any) -> Validated:
    rows = [{"id": n, "text": f"words {n}", "label": "ab"[n % 2]} for n in range(40)]
    return joined(folder, rows, trusted, task="classification", columns={"text": "text", "label": "label"})


def test_rows_that_read_otherwise_are_bad(tmp_path: Path) -> None:
    """Out of the data's order, over two row groups; white space at the ends and a missing input make no difference."""
    trusted = [
        {"id": 33, "ask": "Question 33?", "input": "", "answer": "A better answer."},
        {"id": 4, "ask": "  Question 4? ", "input": None, "answer": "Answer 4.\n"},
        {"id": 7, "ask": "Question 7?", "input": "with this", "answer": "Answer 7."},
        {"id": 18, "ask": "question 18?", "input": "", "answer": "Answer 18."},
        {"id": 2, "ask": "Question 2?", "input": " ", "answer": "Answer 2."},
    ]
    assert exchanges(tmp_path, trusted) == ({33: 0, 4: 1, 7: 0, 18: 0, 2: 1}, [])


RENAMED = {"id": "uid", "instruction": "prompt", "input": "ctx", "output": "resp"}


@pytest.mark.parametrize("named", ["revised_{role}", "revised_{name}", "{name}"])
def test_a_revision_stands_under_its_role_or_the_datas_own_name(tmp_path: Path, named: str) -> None:
    """What the data calls its columns is nothing to how a revision may be called."""
    rows = [{"uid": n, "prompt": f"Question {n}?", "ctx": "", "resp": f"Answer {n}."} for n in range(40)]
    columns = {role: named.format(role=role, name=name) for role, name in RENAMED.items() if role != "id"}
    trusted = [
        {"uid": n, columns["instruction"]: f"Question {n}?", columns["input"]: "", columns["output"]: answer}
        for n, answer in ((1, "Answer 1."), (2, "A better answer."))
    ]
    validated = joined(tmp_path, rows, trusted, task="instruction", columns=RENAMED)
    assert validated.trusted is not None
    assert validated.trusted["truth"].to_pylist() == [1, 0]


def test_a_role_goes_before_a_column_of_the_data_that_has_its_name(tmp_path: Path) -> None:
    """The data's answers are called `input`: `revised_input` is the input all the same."""
    columns = {"id": "uid", "instruction": "prompt", "input": "ctx", "output": "input"}
    rows = [{"uid": n, "prompt": "Add", "ctx": f"{n}", "input": f"{n}"} for n in range(40)]
    trusted = [{"uid": 1, "revised_input": "1"}, {"uid": 2, "revised_input": "3"}]
    validated = joined(tmp_path, rows, trusted, task="instruction", columns=columns)
    assert validated.trusted is not None
    assert validated.trusted["truth"].to_pylist() == [1, 0]
    assert joined(tmp_path, rows, [{"uid": 1, "revised_output": "1"}], task="instruction", columns=columns).trusted


def test_a_file_without_a_truth_is_told_what_was_looked_for(tmp_path: Path) -> None:
    rows = [{"uid": n, "prompt": f"Question {n}?", "ctx": "", "resp": "x"} for n in range(40)]
    with pytest.raises(TrustedError) as told:
        joined(tmp_path, rows, [{"uid": 1, "revised": "x"}], task="instruction", columns=RENAMED)
    for name in (
        "keep",
        "revised_instruction",
        "revised_prompt",
        "prompt",
        "revised_output",
        "revised_resp",
        "revised",
    ):
        assert f"{name}" in str(told.value)


def test_a_revised_column_goes_before_the_copy_beside_it_and_one_alone_will_do(tmp_path: Path) -> None:
    copied = [{**row, "revised_answer": row["answer"] if row["id"] % 3 else "Mended."} for row in EXCHANGES[:12]]
    expected = {n: int(n % 3 > 0) for n in range(12)}
    assert exchanges(tmp_path, copied) == (expected, [])
    alone = [{"id": row["id"], "revised_answer": row["revised_answer"]} for row in copied]
    assert exchanges(tmp_path, alone) == (expected, [])


def test_keep_is_the_truth_where_the_file_has_it(tmp_path: Path) -> None:
    trusted = [{**EXCHANGES[0], "answer": "Otherwise.", "keep": True}, {**EXCHANGES[1], "keep": False}]
    assert exchanges(tmp_path, trusted) == ({0: 1, 1: 0}, [])


@pytest.mark.parametrize(("answer", "words"), [("Answer {}.", "no trusted row differs"), ("!", "every trusted row")])
def test_revisions_all_of_one_kind_are_said_aloud(tmp_path: Path, answer: str, words: str) -> None:
    _, [warning] = exchanges(tmp_path, [{"id": n, "answer": answer.format(n)} for n in range(5)])
    assert words in warning and "compared: answer" in warning


@pytest.mark.parametrize(
    ("trusted", "words"),
    [
        (
            [{"id": 1, "revised_answer": "x"}, {"id": 2, "revised_answer": None}],
            ["1 null", "'revised_answer'", "row 1"],
        ),
        ([{"id": 1, "answer": 5}], ["'answer' holds int64", "text"]),
        ([{"id": 1, "verdict": "x"}], ["'keep'", "nor any of 'revised_instruction', 'revised_ask', 'ask'", "verdict"]),
    ],
)
def test_revisions_that_say_nothing(tmp_path: Path, trusted: list[dict[str, Any]], words: list[str]) -> None:
    with pytest.raises(TrustedError) as caught:
        exchanges(tmp_path, trusted)
    for word in words:
        assert word in str(caught.value)


def test_repeated_ids_are_told_by_file_id_and_rows(tmp_path: Path) -> None:
    trusted = [{"id": n, "label": "a"} for n in (3, 5, 7, 5, 3, 5)]
    with pytest.raises(TrustedError) as caught:
        labelled(tmp_path, trusted)
    assert str(tmp_path / "trusted.parquet") in str(caught.value)
    assert "3 in rows 0, 4; 5 in rows 1, 3, 5" in str(caught.value) and "2 id(s)" in str(caught.value)


@pytest.mark.parametrize(
    ("trusted", "words"),
    [
        ([{"id": 3, "label": "a"}, {"id": 4, "label": " "}], ["1 null or empty", "'label'", "row 1"]),
        ([{"id": 3, "label": ["a"]}], ["'label' holds list<"]),
        ([{"id": "3", "label": "a"}], ["match no row", "its ids are string, the data's are int64"]),
        ([{"id": None, "label": "a"}, {"id": 3, "label": "a"}], ["trusted.parquet", "'id'", "null"]),
        ([{"id": 3, "label": ""}], ["null or empty"]),
    ],
)
def test_truths_that_say_nothing(tmp_path: Path, trusted: list[dict[str, Any]], words: list[str]) -> None:
    with pytest.raises(TrustedError) as caught:
        labelled(tmp_path, trusted)
    for word in words:
        assert word in str(caught.value)


def test_text_is_not_compared(tmp_path: Path) -> None:
    rows = [{"id": n, "text": f"words {n}"} for n in range(4)]
    with pytest.raises(TrustedError, match="no column 'keep'"):
        joined(tmp_path, rows, [{"id": 1, "text": "other"}], task="text", columns={"text": "text"})


def test_expert_revisions_of_real_exchanges(tmp_path: Path, data: Path) -> None:
    """Every one of these rows was edited by an expert, so all are bad; rows the expert left alone would be good."""
    table = pq.read_table(data / "alpaca_expert.parquet")
    names = ["instruction", "input", "output"]
    experts = table.filter(table["expert_revised"]).select(["id", *(f"revised_{name}" for name in names)])
    left = table.filter(pc.invert(table["expert_revised"])).slice(0, 300).select(["id", *names])
    trusted = pa.concat_tables([experts, left.rename_columns(experts.column_names)])
    rows = table.select(["id", *names]).to_pylist()
    validated = joined(tmp_path, rows, trusted, task="instruction", columns={name: name for name in names})
    assert validated.trusted is not None and validated.outputs["warnings"] == []
    assert validated.trusted["truth"].to_pylist() == [0] * experts.num_rows + [1] * 300
    [warning] = joined(tmp_path, rows, experts, task="instruction", columns={name: name for name in names}).outputs[
        "warnings"
    ]
    assert "every trusted row differs" in warning


def test_the_join_takes_memory_for_the_trusted_rows_not_for_the_data(tmp_path: Path) -> None:
    """Two million rows of the data, 32 MB of ids, pass unit by unit."""
    plan: Any = SimpleNamespace(id_type=pa.int64())
    units = [from_ids(pa.array(np.arange(first, first + 20_000))) for first in range(0, 200_000, 20_000)] * 10
    wanted = pa.array(np.arange(199_000, 200_100))
    before = pa.default_memory_pool()
    pa.set_memory_pool(WATCHED)
    tracemalloc.start()
    try:
        with pytest.raises(TrustedError, match="100 of 1100 ids match no row"):
            phase._refuse_strangers(from_ids(wanted), wanted, units, "trusted.parquet", plan.id_type)
        peak = tracemalloc.get_traced_memory()[1] + WATCHED.max_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)
    assert peak < 4 << 20, "a few columns of one unit"


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60), max_size=20), st.integers(1, 12))
def test_trusted_rows_are_found_in_whatever_units_they_lie(data: set[int], known: set[int], pieces: int) -> None:
    rows, sample = sorted(data, key=lambda n: n * 7 % 61), sorted(known)
    parts = np.array_split(np.array(rows, np.int64), pieces)
    ids = from_ids(pa.array(sample, pa.int64()))
    found = list(phase._met(ids, [from_ids(pa.array(part)) for part in parts]))
    pairs = [
        (parts[unit][row], sample[place]) for unit, at, places in found for row, place in zip(at, places, strict=True)
    ]
    assert all(one == other for one, other in pairs) and {one for one, _ in pairs} == data & known
    assert all((np.diff(at) > 0).all() for _, at, _ in found)
