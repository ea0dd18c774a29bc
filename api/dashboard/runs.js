// The list of runs, and what to type when there is none.

import { ago, copyButton, count, el, percent, stack, state } from "./parts.js";

export const counted = (run) => run.summary ?? run.progress;
export const rowsOf = (run) => run.summary?.rows_in ?? run.progress.rows_total;

export function outcome(run) {
  const rows = counted(run);
  return [
    { name: "kept", value: rows.kept - rows.relabeled, colour: "keep" },
    { name: "relabelled", value: rows.relabeled, colour: "relabel" },
    { name: "dropped", value: rows.dropped, colour: "drop" },
  ];
}

export const titleOf = (run) => run.dataset_name ?? run.id.slice(0, 16);

function line(run, current) {
  const rows = rowsOf(run);
  const { kept, dropped } = counted(run);
  return el(
    "tr",
    { "aria-current": run.id === current ? "true" : null },
    el("td", {}, el("a", { href: `#${run.id}`, text: titleOf(run) })),
    el("td", {}, state(run.state)),
    el("td", { text: [run.recipe ?? run.task ?? "recipe", run.engine].filter(Boolean).join(" · ") }),
    el("td", { class: "right num", text: rows ? count(rows) : "–" }),
    el("td", { class: "wide" }, stack(outcome(run), rows)),
    el("td", { class: "right num", text: rows && kept + dropped ? percent(kept, rows) : "–" }),
    el("td", { class: "muted", title: run.created_at, text: ago(run.created_at) }),
  );
}

export function runsTable(body, current) {
  const heads = ["Data", "State", "Recipe", "Rows", "Kept, relabelled, dropped", "Kept", "Submitted"];
  const table = el(
    "table",
    {},
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col", class: ["Rows", "Kept"].includes(head) ? "right" : null, text: head })))),
    el("tbody", {}, body.items.map((run) => line(run, current))),
  );
  const more = body.next_cursor ? el("p", { class: "muted", text: "Older runs: GET /v1/runs with the cursor." }) : null;
  return el("div", { class: "card runs" }, table, more);
}

export function emptyState() {
  const shell = `winnow submit docs.jsonl.gz --recipe text --url ${location.origin}`;
  const python = `from curator import Client\nrun = Client("${location.origin}").curate("docs.jsonl.gz", recipe="text")`;
  return el(
    "div",
    { class: "card empty" },
    el("p", { text: "Nothing has been curated here yet. Type one of these, and watch it here:" }),
    [shell, python].map((text) => el("div", { class: "row" }, el("pre", {}, el("code", { text })), copyButton(text))),
    el("p", { class: "muted", text: "Recipes that come with Winnow: text, fineweb, gopher, c4, dolma, classification, instruction. Or send your own." }),
  );
}
