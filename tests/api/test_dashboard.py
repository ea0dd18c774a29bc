"""The dashboard's scripts at work: what is offered for a run, and the walk over its rows, on a page of plain nodes.

Skipped where there is no Node to run them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

DASHBOARD = Path(__file__).parents[2] / "api" / "dashboard"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="needs Node to run the dashboard's scripts")

PAGE = """
class Plain {
  constructor(tag) { Object.assign(this, { tag, children: [], on: {}, style: {}, dataset: {}, attributes: {} }); }
  setAttribute(name, value) { this.attributes[name] = value; }
  addEventListener(kind, act) { this.on[kind] = act; }
  append(...nodes) {
    for (const node of nodes) {
      if (node instanceof Plain) node.parentNode = this;
      this.children.push(node);
    }
  }
  replaceChildren(...nodes) { this.children = []; this.append(...nodes); }
  scrollIntoView() {}
}
globalThis.document = { createElement: (tag) => new Plain(tag), addEventListener() {}, hidden: false };
globalThis.sessionStorage = { getItem: () => null };
"""


def run(tmp_path: Path, script: str) -> Any:
    """What a script prints, as JSON; it stands among the dashboard's own."""
    for file in DASHBOARD.glob("*.js"):
        shutil.copy(file, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "story.js").write_text(script)
    done = subprocess.run(
        [str(NODE), "story.js"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("state", "code", "resumable", "orders"),
    [
        ("failed", "bad_input", False, []),
        ("failed", "bad_recipe", False, []),
        ("failed", "bad_request", False, []),
        ("failed", "integrity", False, ["retry"]),
        ("failed", "disk_full", True, ["resume", "retry"]),
        ("running", None, None, ["cancel", "pause"]),
        ("paused", None, None, ["resume", "cancel"]),
        ("succeeded", None, None, []),
    ],
)
def test_only_what_can_help_is_offered(
    tmp_path: Path, state: str, code: str | None, resumable: bool | None, orders: list[str]
) -> None:
    error = None if code is None else {"code": code, "resumable": resumable, "message": "m"}
    told = run(
        tmp_path,
        "import { faultOf, ordersOf } from './orders.js';\n"
        f"const run = {json.dumps({'state': state, 'error': error})};\n"
        "console.log(JSON.stringify([ordersOf(run), run.error && faultOf(run)]));",
    )
    assert told[0] == orders
    if error is not None:
        assert ("resume" in told[1]["next"]) == ("resume" in orders)
        assert ("submit a new run" in told[1]["next"]) == (not orders)
        assert (told[1]["what"] == "The data cannot be used") == (code == "bad_input")


WALK = (
    PAGE
    + """
const rows = Array.from({ length: 45 }, (_, n) => ({ sample_id: `s${n}`, id: `d${n}`, action: "drop", reason: "short",
  reasons: [], confidence: 1, row: { text: `text ${n}` }, predicted_label: null, duplicate_of: null }));
const asked = [];
globalThis.fetch = async (path) => {
  const query = new URL(path, "http://h").searchParams;
  asked.push(Object.fromEntries(query));
  const start = Number(query.get("cursor") ?? 0), stop = start + Number(query.get("limit"));
  const next_cursor = stop < rows.length ? String(stop) : null;
  const body = { items: rows.slice(start, stop), content: ["text"], next_cursor };
  return { status: 200, json: async () => body, headers: { get: () => null } };
};
const { Examples } = await import("./examples.js");
const run = { id: "run_1", summary: { rows_in: 100, kept: 55, dropped: 45, relabeled: 0, reasons: { short: 45 } } };
const page = new Examples(run, () => {}, (error) => { throw error; });
const settle = () => new Promise((done) => setTimeout(done, 5));
const seen = [];
const look = async () => {
  await settle();
  seen.push([page.told.textContent, page.list.children.length, page.back.disabled, page.forth.disabled]);
};
await look();
for (const button of ["forth", "forth", "back"]) { page[button].on.click(); await look(); }
page.choose("short"); await look();
page.choose("short"); await look();
page.actions.value = "keep"; page.actions.on.change(); await look();
console.log(JSON.stringify({ seen, asked }));
"""
)


def test_rows_are_walked_page_by_page(tmp_path: Path) -> None:
    found = run(tmp_path, WALK)
    assert found["seen"] == [
        ["rows 1–20 of 45", 20, True, False],
        ["rows 21–40 of 45", 20, False, False],
        ["rows 41–45 of 45", 5, False, True],
        ["rows 21–40 of 45", 20, False, False],
        ["rows 1–20 of 45", 20, True, False],
        ["rows 1–20 of 100", 20, True, False],
        ["rows 1–20 of 55", 20, True, False],
    ]
    page = {"rows": "true", "limit": "20"}
    assert found["asked"] == [
        {**page, "action": "drop"},
        {**page, "action": "drop", "cursor": "20"},
        {**page, "action": "drop", "cursor": "40"},
        {**page, "action": "drop", "cursor": "20"},
        {**page, "reason": "short"},
        page,
        {**page, "action": "keep"},
    ]


def test_a_row_is_shown_by_what_was_judged(tmp_path: Path) -> None:
    """Not by its longest text: a null one is empty, the parts of an exchange are joined, a picture is a picture."""
    cells = [
        [["text"], {"text": "short", "html": "<p>long</p>" * 9}],
        [["text"], {"text": None, "at": "2026-01-01T00:00:00"}],
        [["q", "ctx", "a"], {"q": "Add", "ctx": None, "a": "3", "source": "a page of the web"}],
        [["image"], {"image": {"bytes": 9, "media_type": "image/png", "base64": "iVBO"}, "caption": "a caption"}],
        [["image"], {"image": {"bytes": 99000, "media_type": "image/png", "base64": None}, "caption": "a caption"}],
    ]
    row = {"sample_id": "00" * 16, "action": "drop", "predicted_label": None, "confidence": None}
    script = (
        PAGE
        + f"""
    const cells = {json.dumps(cells)}, row = {json.dumps(row)};
    const shown = [];
    const {{ Examples }} = await import("./examples.js");
    for (const [content, data] of cells) {{
      globalThis.fetch = async () => ({{ status: 200, headers: {{ get: () => null }},
        json: async () => ({{ items: [{{ ...row, row: data }}], content, next_cursor: null }}) }});
      const summary = {{ rows_in: 1, kept: 0, dropped: 1, relabeled: 0, reasons: {{}} }};
      const page = new Examples({{ id: "run_1", summary }}, () => {{}}, (error) => {{ throw error; }});
      await new Promise((done) => setTimeout(done, 5));
      const told = page.list.children[0].children[1];
      shown.push(told.tag === "img" ? told.attributes.src : told.textContent);
    }}
    console.log(JSON.stringify(shown));"""
    )
    assert run(tmp_path, script) == [
        "short", "(empty)", "Add\n\n3", "data:image/png;base64,iVBO", "image: 99,000 bytes",
    ]  # fmt: skip


def test_a_page_without_rows_says_so(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        "import { Pages, wholeOf } from './pages.js';\n"
        "const pages = new Pages(); pages.took({ items: [], next_cursor: null });\n"
        "const both = wholeOf({ reasons: { short: 3 } }, 'keep', 'short');\n"
        "console.log(JSON.stringify([pages.saying(0), both]));",
    )
    assert told == ["no such rows", None]
