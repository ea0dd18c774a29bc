// One run: how far it is, what it kept and why, the policy's figures, and rows to look at.

import { Examples } from "./examples.js";
import { faultOf, ordersOf } from "./orders.js";
import { ago, bars, card, copyButton, count, el, legend, seconds, stack, state } from "./parts.js";
import { get, Poll, post } from "./rest.js";
import { Reviews } from "./reviews.js";
import { counted, outcome, rowsOf, titleOf } from "./runs.js";
import { scorecard } from "./scorecard.js";

const PHASES = ["validate", "score", "resolve", "learn", "decide", "write"];
const COMMON = 14;
const ENDED = new Set(["failed", "cancelled", "paused"]);
const WAITING = { queued: "Waiting for a runner", failed: "Stopped before the first row", cancelled: "Cancelled before the first row" };

export class RunPage {
  constructor(place, id, onError, onChange) {
    Object.assign(this, { place, id, onError, onChange });
    this.examples = null;
    this.reviews = null;
    this.top = el("div");
    this.body = el("div", { class: "grid" });
    place.replaceChildren(this.top, this.body);
    this.poll = new Poll(() => this.look(), onError);
  }

  close() {
    this.poll.stop();
  }

  async look() {
    const run = await get(`/v1/runs/${this.id}`);
    const metrics = await get(`/v1/runs/${this.id}/metrics`);
    if (run.changed || metrics.changed || !this.top.hasChildNodes()) this.draw(run.body, metrics.body);
    return run.body.poll_after_ms;
  }

  async order(what) {
    try {
      await post(`/v1/runs/${this.id}:${what}`);
    } catch (error) {
      this.onError(error);
    }
    this.poll.now();
    this.onChange();
  }

  draw(run, metrics) {
    const focused = document.activeElement?.dataset?.order;
    this.top.replaceChildren(this.heading(run), facts(run, metrics));
    if (focused) this.top.querySelector(`[data-order="${focused}"]`)?.focus();
    if (run.state === "succeeded" && !this.examples) {
      this.examples = new Examples(run, () => this.draw(run, metrics), this.onError);
      this.reviews = new Reviews(run, metrics.scorecard?.review?.length, this.onError);
    }
    const left = [this.reasons(metrics), run.summary ? scorecard(metrics, this.showsFigures, (open) => (this.showsFigures = open)) : null].filter(Boolean);
    const right = [run.summary ? difficulty(metrics) : null, phases(metrics), run.summary ? manifest(run) : null, this.reviews?.node].filter(Boolean);
    const columns = [left, right].filter((column) => column.length).map((column) => el("div", { class: "column" }, column));
    const parts = [progress(run, metrics), ...notices(run), ...columns, this.examples?.node];
    const keep = this.body.contains(document.activeElement) ? document.activeElement.textContent : null;
    this.body.replaceChildren(...parts.filter(Boolean));
    if (keep) [...this.body.querySelectorAll("button")].find((button) => button.textContent === keep)?.focus();
  }

  heading(run) {
    const orders = ordersOf(run).map((what) =>
      el("button", { type: "button", "data-order": what, text: what[0].toUpperCase() + what.slice(1), on: { click: () => this.order(what) } }));
    return el("div", { class: "head" }, el("h2", { text: titleOf(run) }), state(run.state), el("div", { class: "actions" }, orders));
  }

  reasons(metrics) {
    const relabels = new Set(["trusted_label"]);
    const rows = Object.entries(metrics.reasons).sort((a, b) => b[1] - a[1]).map(([name, value]) => ({
      name, value, told: count(value), colour: relabels.has(name) ? "relabel" : "drop",
    }));
    if (!rows.length) return null;
    const choose = this.examples ? (reason) => this.examples.choose(reason) : null;
    const options = { choose, chosen: this.examples?.reason, most: rows[0].value };
    const rare = rows.slice(COMMON);
    const rest = rare.length < 3 ? bars(rare, options) : el("details", { class: "rare", open: this.showsRare, on: { toggle: (event) => (this.showsRare = event.target.open) } },
      el("summary", { text: `${rare.length} rarer reasons, ${count(rare.reduce((sum, row) => sum + row.value, 0))} rows` }), bars(rare, options));
    return card("Why rows were dropped or relabelled", bars(rows.slice(0, COMMON), options), rare.length ? rest : null);
  }
}

function facts(run, metrics) {
  const said = [
    el("code", { text: run.id }),
    el("span", { text: `recipe ${run.recipe ?? "of its own"}` }),
    el("span", { text: `engine ${run.engine ?? "unknown"}` }),
    run.trusted ? el("span", { text: "with a trusted sample" }) : null,
    run.attempt > 1 ? el("span", { text: `attempt ${run.attempt}` }) : null,
    el("span", { text: `submitted ${ago(run.created_at)}`, title: run.created_at }),
    metrics.peak_rss_bytes ? el("span", { text: `peak memory ${(metrics.peak_rss_bytes / 2 ** 20).toFixed(0)} MiB` }) : null,
    el("span", {}, el("a", { href: `/v1/runs/${run.id}`, text: "JSON" }), " · ", el("a", { href: `/v1/runs/${run.id}/metrics`, text: "metrics" }), " · ", el("a", { href: `/v1/runs/${run.id}/events`, text: "events" })),
  ];
  return el("p", { class: "facts" }, said);
}

function progress(run, metrics) {
  const rows = rowsOf(run);
  const done = run.summary !== null;
  const parts = outcome(run);
  const decided = done || counted(run).kept + counted(run).dropped > 0;
  const bar = decided
    ? stack(parts, rows, { tall: true })
    : stack([{ name: "read", value: metrics.rows_done, colour: "busy" }], rows, { tall: true });
  const headline = done
    ? `${count(counted(run).kept)} of ${count(rows)} rows kept`
    : rows ? `${ENDED.has(run.state) ? "Stopped at " : ""}${count(metrics.rows_done)} of ${count(rows)} rows` : WAITING[run.state] ?? "Reading the inputs";
  const here = PHASES.indexOf(metrics.phase);
  const steps = PHASES.map((phase, place) => {
    const spent = metrics.seconds_by_phase[phase];
    const current = !done && phase === metrics.phase;
    return el("li", { "aria-current": current ? "step" : null, "data-done": done || (here > place && spent !== undefined), text: phase });
  });
  const telling = metrics.blocked_on ? el("p", { class: "muted", text: `No further work is begun right now: ${metrics.blocked_on}` }) : null;
  return el("section", { class: "card full progress", "aria-label": "Progress" },
    el("p", { class: "big", text: headline }), bar, decided ? legend(parts, rows) : null, el("ol", { class: "steps" }, steps), telling);
}

function notices(run) {
  const out = [];
  if (run.error) {
    const { what, next } = faultOf(run);
    out.push(el("section", { class: "card full" }, el("div", { class: "notice bad" },
      el("p", {}, el("b", { text: `${what}: ` }), run.error.message), el("p", { class: "muted", text: `${next} (${run.error.code})` }))));
  }
  const warnings = run.summary?.warnings ?? [];
  if (warnings.length) {
    out.push(el("section", { class: "card full" }, el("div", { class: "notice" }, warnings.map((text) => el("p", { text })))));
  }
  return out;
}

function phases(metrics) {
  const rows = Object.entries(metrics.seconds_by_phase).map(([name, value]) => ({ name, value, told: seconds(value), colour: "busy" }));
  if (!rows.length) return null;
  const total = metrics.seconds ? el("p", { class: "muted", text: `${seconds(metrics.seconds)} in all, ${count(Math.round(metrics.rows_total / Math.max(metrics.seconds, 1e-3)))} rows a second` }) : null;
  return card("Seconds by phase", bars(rows), total);
}

function difficulty(metrics) {
  const parts = ["easy", "medium", "hard"].map((name) => ({ name, value: metrics.difficulty?.[name] ?? 0, colour: name }));
  const whole = parts.reduce((sum, part) => sum + part.value, 0);
  if (!whole) return null;
  return card("Difficulty of kept rows", stack(parts, whole, { tall: true }), legend(parts, whole));
}

function manifest(run) {
  const id = run.summary.manifest;
  const pull = `winnow pull ${id} --epoch 0 --url ${location.origin} --out epoch0.parquet`;
  return card("Manifest: what to train on",
    el("div", { class: "manifest" }, el("a", { href: `/v1/manifests/${id}` }, el("code", { text: id })), copyButton(id)),
    el("p", { class: "muted" }, "An epoch of it, in order:"),
    el("div", { class: "manifest tight" }, el("code", { text: pull }), copyButton(pull)));
}
