"""The report card: what it says, and that sample text can do nothing on a page or in a terminal."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from api.cli.report import told, visible
from api.cli.report_card import Example, Move, Reason, ReportCard, _walk, gather
from api.cli.report_html import page
from curator.storage import Store

Winnow = Callable[..., Result]
NASTY = '<script>alert("x")</script><img src=x onerror=alert(1)>&\x1b[31m'


@pytest.fixture
def card(finished: Any) -> ReportCard:
    return gather(Store.open(finished.root), finished.summary["run"])


@pytest.fixture
def nasty(card: ReportCard) -> ReportCard:
    """The same card with hostile text wherever text of the data or the recipe stands."""
    example = Example(id=NASTY, action="relabel", content=NASTY, given_label=NASTY, predicted_label=NASTY)
    return card.model_copy(
        update={
            "reasons": (Reason(name=NASTY, meaning=NASTY, rows=1, examples=(example,)),),
            "moves": (Move(given=NASTY, predicted=NASTY, rows=1),),
            "scorecard": ((NASTY, NASTY),),
            "summary": {
                **card.summary,
                "warnings": [NASTY],
                "difficulty": {NASTY: 1},
                "seconds_by_phase": {NASTY: 1.0},
            },
        }
    )


def test_reasons_have_counts_meanings_and_example_rows(card: ReportCard) -> None:
    by_name = {reason.name: reason for reason in card.reasons}
    assert {name: reason.rows for name, reason in by_name.items()} == {
        "exact_duplicate": 1, "missing_content": 1, "too_short": 1,
    }  # fmt: skip
    assert all(reason.meaning for reason in card.reasons)
    assert [(e.id, e.action, e.content) for e in by_name["exact_duplicate"].examples] == [
        ("dup", "drop", "the quick brown fox jumps over 3 lazy dogs")
    ]
    assert by_name["too_short"].examples[0].content.startswith("<script>")


def wide(folder: Path, winnow: Winnow, recipe: str, rows: list[dict[str, Any]]) -> ReportCard:
    """The card of a run on rows whose longest text is not what the recipe judges."""
    data, words = folder / "data.jsonl", folder / "recipe.yaml"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words.write_text(recipe)
    done = winnow("curate", data, "--recipe", words, "--out", folder / "root", "--json")
    assert done.exit_code == 0, done.stderr
    return gather(Store.open(str(folder / "root")), json.loads(done.stdout)["run"])


def examples(card: ReportCard) -> dict[str, str]:
    return {example.id: example.content for reason in card.reasons for example in reason.examples}


def test_an_example_shows_what_was_judged(winnow: Winnow, tmp_path: Path) -> None:
    rows = [
        {"id": f"n{n}", "text": text, "html": f"<p>{n}</p>" * 60}
        for n, text in enumerate(["short", None, " x ", "long " * 30])
    ]
    recipe = "{columns: {text: text}, process: [{length: {min_chars: 30}}], policy: {kind: rules}}"
    card = wide(tmp_path, winnow, recipe, rows)
    assert examples(card) == {"n0": "short", "n1": "(empty)", "n2": " x "}
    assert "<p>" not in told(card)


def test_an_example_of_instruction_data_joins_its_parts(winnow: Winnow, tmp_path: Path) -> None:
    rows = [
        {"id": f"n{n}", "q": "Add", "ctx": ctx, "a": a, "source": "a page of the web " * 9}
        for n, (ctx, a) in enumerate([("1 and 2", "3"), (None, "4"), ("5", None)])
    ]
    recipe = (
        "{task: instruction, columns: {instruction: q, input: ctx, output: a}, "
        "process: [{length: {min_chars: 30}}], policy: {kind: rules}}"
    )
    assert examples(wide(tmp_path, winnow, recipe, rows)) == {
        "n0": "Add\n\n1 and 2\n\n3",
        "n1": "Add\n\n4",
        "n2": "Add\n\n5",
    }


def test_a_picture_is_shown_as_one(winnow: Winnow, tmp_path: Path) -> None:
    png = b"\x89PNG\r\n\x1a\n not a whole picture"
    table = pa.table(
        {
            "id": [1, 2, 3, 4],
            "image": [png, png, None, b"x" * 99],
            "label": ["a", "a", "b", "b"],
            "caption": ["a caption " * 9] * 4,
        }
    )
    pq.write_table(table, tmp_path / "data.parquet")
    (tmp_path / "recipe.yaml").write_text(
        "{task: classification, columns: {image: image, label: label}, policy: {kind: rules}}"
    )
    done = winnow(
        "curate", tmp_path / "data.parquet", "--recipe", tmp_path / "recipe.yaml", "--out", tmp_path, "--json"
    )
    assert done.exit_code == 0, done.stderr
    card = gather(Store.open(str(tmp_path)), json.loads(done.stdout)["run"])
    assert examples(card) == {"1": "image: 28 bytes", "2": "image: 28 bytes", "3": "(empty)", "4": "image: 99 bytes"}
    tags = Tags()
    tags.feed(page(card))
    pictures = [value for name, value in tags.attributes if name == "src"]
    assert pictures == ["data:image/png;base64," + base64.b64encode(png).decode()] * 2


def test_no_label_is_not_the_class_called_none(card: ReportCard) -> None:
    examples = tuple(
        Example(id="1", action="relabel", content="x", given_label=given, predicted_label="World")
        for given in (None, "None")
    )
    moves = tuple(Move(given=given, predicted="World", rows=1) for given in (None, "None"))
    reason = Reason(name="label_error", meaning="", rows=2, examples=examples)
    both = card.model_copy(update={"reasons": (reason,), "moves": moves})
    assert told(both).count("(no label) -> World") == told(both).count("None -> World") == 2
    assert page(both).count("<i>no label</i> → World") == page(both).count("None → World") == 2


def test_a_row_without_a_label_moves_from_none() -> None:
    ledger = pa.table(
        {
            "action": ["relabel"] * 3,
            "reason": ["label_error"] * 3,
            "given_label": [None, "None", None],
            "predicted_label": ["World"] * 3,
        }
    )
    assert _walk(ledger.to_batches())[1] == {(None, "World"): 2, ("None", "World"): 1}


def test_the_text_card(winnow: Winnow, finished: Any) -> None:
    done = winnow("report", "last", "--root", finished.root)
    assert done.exit_code == 0, done.stderr
    for words in (
        finished.summary["run"],
        "rows in",
        "97.1%",
        "too_short",
        "difficulty",
        "policy scorecard",
        "seconds by phase",
    ):
        assert words in done.stdout


def test_the_json_card_is_one_object(winnow: Winnow, finished: Any) -> None:
    done = winnow("report", "last", "--root", finished.root, "--json")
    assert json.loads(done.stdout)["summary"]["run"] == finished.summary["run"]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_the_page_needs_nothing_but_itself(winnow: Winnow, finished: Any, here: Path) -> None:
    done = winnow("report", "last", "--root", finished.root, "--html", "card.html")
    assert done.exit_code == 0, done.stderr
    tags = Tags()
    tags.feed((here / "card.html").read_text())
    assert {"html", "title", "style", "table"} <= set(tags.tags)
    assert not {"script", "img", "link", "iframe", "object", "form"} & set(tags.tags)
    assert not {name for name, _ in tags.attributes} & {"src", "href", "onclick", "onerror", "onload"}
    assert "exact_duplicate" in (here / "card.html").read_text()


def test_hostile_text_is_only_text(nasty: ReportCard) -> None:
    html = page(nasty)
    tags = Tags()
    tags.feed(html)
    assert not {"script", "img"} & set(tags.tags)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 9
    assert "\x1b" not in told(nasty)


def test_control_characters_are_shown_not_obeyed() -> None:
    assert visible("a\x1b[2Jb\nc\u202ed é") == "a\\x1b[2Jb\\nc\\u202ed é"


def test_a_run_without_a_report(winnow: Winnow, finished: Any) -> None:
    done = winnow("report", "run_0", "--root", finished.root)
    assert done.exit_code == 2
    assert "has not finished" in done.stderr
