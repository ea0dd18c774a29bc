"""The review page at work on a page of plain nodes: claims, keys, answers, refusals, and what is given back.

Skipped where there is no Node to run it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.api.test_dashboard import DASHBOARD, NODE, PAGE, run

pytestmark = pytest.mark.skipif(NODE is None, reason="needs Node to run the dashboard's scripts")

QUEUE = {
    "id": "rev_1",
    "run": "run_1",
    "label": "label",
    "content": ["text"],
    "classes": ["a", "b", "c"],
    "num_items": 3,
    "answers_wanted": 3,
    "answers_given": 0,
    "skipped": 0,
    "states": {"open": 3, "leased": 0, "settled": 0, "disputed": 0},
    "uncertain": {"items": 3, "settled": 0, "confirmed": 0},
    "audit": {"items": 0, "settled": 0, "confirmed": 0},
    "agreement": {"items": 0, "agreement": None, "kappa": None, "pairs": []},
    "trusted_rows": 0,
    "trusted_left_out": 0,
    "poll_after_ms": None,
}


def test_a_class_keeps_its_key_and_the_runs_verdict_is_marked(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        "import { bodyOf, choicesOf, chosenBy, whyOf } from './verdicts.js';\n"
        f"const queue = {json.dumps(QUEUE)};\n"
        "const verdict = { action: 'relabel', given_label: 'b', predicted_label: 'c', confidence: 0.4 };\n"
        "const item = { why: 'uncertain', verdict };\n"
        "const choices = choicesOf(queue, item);\n"
        "const press = (key, more) => chosenBy({ key, ...more }, choices)?.says ?? null;\n"
        "const shown = choices.map((c) => [c.key, c.says, c.decided]);\n"
        "console.log(JSON.stringify({ shown, pressed: [press('K'), press('3'), press('2'),\n"
        "  press('k', { ctrlKey: true }), press('k', { target: { tagName: 'INPUT' } }), press('x')],\n"
        "  bodies: [bodyOf(choices[0], '0.1'), bodyOf(choices.at(-1), '0.1')], why: whyOf(item, String),\n"
        "  plain: choicesOf({ ...queue, label: null, classes: [] }, item).map((c) => c.says) }));",
    )
    assert told["shown"] == [["k", "Keep: b", False], ["d", "Drop", False], ["1", "a", False], ["3", "c", True]]
    assert told["pressed"] == ["Keep: b", "c", None, None, None, None]
    assert told["bodies"] == [
        {"action": "keep", "lease": "0.1"},
        {"action": "relabel", "label": "c", "lease": "0.1"},
    ]
    assert told["why"] == "the run is 40% sure"
    assert told["plain"] == ["Keep", "Drop"]


STORY = """
const listeners = {};
globalThis.document.addEventListener = (kind, act) => (listeners[kind] = act);
globalThis.document.removeEventListener = () => {};
globalThis.window = { addEventListener() {}, removeEventListener() {} };
const verdict = { action: "keep", reason: null, given_label: "a", predicted_label: null, confidence: 1 };
const rows = [0, 1, 2, 3].map((n) => ({
  id: `rvi_${n}`, why: "audit", sample_id: `s${n}`, lease: { token: "0.1" }, row: { text: `text ${n}` }, row_cut: [],
  verdict: { id: `d${n}`, ...verdict },
}));
const asked = [], free = [...rows];
globalThis.fetch = async (path, options) => {
  const body = options.body ? JSON.parse(options.body) : null;
  if (options.method === "POST") asked.push([path.replace("/v1/review/", ""), body]);
  const answer = (status, told, etag = null) => ({ status, json: async () => told, headers: { get: () => etag } });
  if (path.includes(":claim")) return answer(200, { items: free.splice(0, 2) });
  if (path.endsWith("rvi_1/verdict")) return answer(409, { detail: "claim anew" });
  if (path.endsWith("/verdict")) return answer(200, {}, '"0.2"');
  return answer(200, QUEUE, '"x"');
};
const { ReviewPage } = await import("./review.js");
const settle = () => new Promise((done) => setTimeout(done, 5));
const page = new ReviewPage(new Plain("section"), "rev_1", (error) => { throw error; });
await settle();
const shown = () => page.held.map((item) => item.id);
const press = async (key) => { listeners.keydown({ key, preventDefault() {} }); await settle(); };
const seen = [shown()];
for (const key of ["k", "u", "2", "d", "s"]) { await press(key); seen.push(shown()); }
const refused = page.said;
page.close();
await settle();
console.log(JSON.stringify({ seen, asked, refused }));
"""


def test_rows_are_claimed_answered_amended_and_given_back(tmp_path: Path) -> None:
    found = run(tmp_path, PAGE + f"const QUEUE = {json.dumps(QUEUE)};" + STORY)
    assert found["seen"] == [
        ["rvi_0", "rvi_1"],
        ["rvi_1"],  # k: kept
        ["rvi_0", "rvi_1"],  # u: the last one again
        ["rvi_1"],  # 2: relabelled instead
        ["rvi_2", "rvi_3"],  # d: refused, as its lease was lost; the next rows are claimed
        ["rvi_3"],  # s: skipped
    ]
    assert found["asked"] == [
        ["queues/rev_1:claim?n=5", None],
        ["items/rvi_0/verdict", {"action": "keep", "lease": "0.1"}],
        ["items/rvi_0/verdict", {"action": "relabel", "label": "b", "lease": "0.2"}],
        ["items/rvi_1/verdict", {"action": "drop", "lease": "0.1"}],
        ["queues/rev_1:claim?n=5", None],
        ["items/rvi_2:skip", {"lease": "0.1"}],
        ["items/rvi_3:release", {"lease": "0.1"}],
    ]


def test_the_end_of_a_review_tells_what_came_of_it_once_something_did(tmp_path: Path) -> None:
    """With every row leased to others nothing has."""
    settled = {**QUEUE, "audit": {"items": 1, "settled": 1, "confirmed": 1}}
    told = run(
        tmp_path,
        PAGE + "const { ReviewPage } = await import('./review.js');\n"
        "const shown = (queue) => ReviewPage.prototype.ending.call({ queue }).length;\n"
        f"const cards = {json.dumps([QUEUE, settled])}.map(shown);\n"
        "console.log(JSON.stringify({ cards }));",
    )
    assert told["cards"] == [1, 2]


def test_every_script_is_one_a_browser_can_read(tmp_path: Path) -> None:
    for script in DASHBOARD.glob("*.js"):
        shutil.copy(script, tmp_path / "checked.mjs")
        command: list[Any] = [NODE, "--check", tmp_path / "checked.mjs"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (script.name, done.stderr)
