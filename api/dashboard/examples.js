// Rows of the ledger with their data: dropped ones first, by reason when one is chosen.

import { count, el, figure } from "./parts.js";
import { get } from "./rest.js";

const ACTIONS = [["drop", "dropped"], ["relabel", "relabelled"], ["keep", "kept"]];
const SHOWN = 10;
const MANY = 6;

export class Examples {
  constructor(run, onChoice, onError) {
    Object.assign(this, { run, onChoice, onError, action: "drop", reason: null, cursor: null });
    if (!run.summary.dropped && run.summary.relabeled) this.action = "relabel";
    else if (!run.summary.dropped) this.action = "keep";
    this.list = el("ul", { class: "examples", "aria-live": "polite" });
    this.told = el("span", { class: "muted" });
    this.select = el("select", { "aria-label": "Which rows", on: { change: () => this.choose(null, this.select.value) } },
      ACTIONS.map(([value, text]) => el("option", { value, text: `${text} rows` })));
    this.more = el("button", { type: "button", text: "More", on: { click: () => this.load(true) } });
    this.clear = el("button", { type: "button", text: "All reasons", on: { click: () => this.choose(null) } });
    this.node = el("section", { class: "card full" }, el("h3", { text: "Look at the rows" }),
      el("div", { class: "filters" }, this.select, this.clear, this.told), this.list, el("div", { class: "row" }, this.more));
    this.load(false);
  }

  choose(reason, action = null) {
    this.reason = reason === this.reason ? null : reason;
    this.action = action ?? (this.reason ? null : "drop");
    this.onChoice();
    this.load(false);
  }

  address(extra) {
    const query = new URLSearchParams({ rows: "true", ...(this.action ? { action: this.action } : {}), ...extra });
    return `/v1/runs/${this.run.id}/decisions?${query}`;
  }

  async load(more) {
    if (!more) this.cursor = null;
    this.select.value = this.action ?? "drop";
    this.clear.hidden = !this.reason;
    try {
      const pages = await this.pages();
      if (!more) this.list.replaceChildren();
      this.list.append(...pages.flatMap((page) => page.items).map(example));
      this.cursor = pages.length === 1 ? pages[0].next_cursor : null;
    } catch (error) {
      this.onError(error);
      return;
    }
    this.more.hidden = this.cursor === null;
    this.told.textContent = this.saying();
  }

  // One page of the chosen reason; without one, the first rows of each of the commonest reasons.
  async pages() {
    const reasons = this.reason || this.action === "keep" ? [] : Object.keys(this.run.summary.reasons).slice(0, MANY);
    if (!reasons.length) {
      const extra = { limit: SHOWN, ...(this.reason ? { reason: this.reason } : {}), ...(this.cursor ? { cursor: this.cursor } : {}) };
      return [(await get(this.address(extra))).body];
    }
    return Promise.all(reasons.map(async (reason) => (await get(this.address({ limit: 2, reason }))).body));
  }

  saying() {
    const { summary } = this.run;
    const shown = count(this.list.children.length);
    if (this.reason) return `${shown} of ${count(summary.reasons[this.reason] ?? 0)} with ${this.reason}`;
    const whole = { drop: summary.dropped, relabel: summary.relabeled, keep: summary.kept - summary.relabeled }[this.action];
    return this.action === "keep" ? `${shown} of ${count(whole)}` : `${shown} of ${count(whole)}; choose a reason above for more of it`;
  }
}

function example(item) {
  const others = (item.reasons ?? []).filter((reason) => reason !== item.reason);
  const why = el("div", { class: "why" },
    el("span", { class: "chip", "data-colour": item.action, text: item.reason ?? item.action }),
    item.action === "relabel" || item.predicted_label !== null ? el("span", {}, "labelled ", el("b", { text: item.given_label }), item.predicted_label !== null ? " → " : "", item.predicted_label !== null ? el("b", { text: item.predicted_label }) : null) : null,
    others.length ? el("span", { class: "muted", text: `also ${others.join(", ")}` }) : null,
    item.confidence !== null && item.confidence < 1 ? el("span", { class: "muted num", text: `confidence ${figure(item.confidence)}` }) : null,
    item.duplicate_of ? el("span", { class: "muted" }, "repeats ", el("code", { text: item.duplicate_of.slice(0, 12) }), item.similarity !== null ? ` (${figure(item.similarity)})` : "") : null,
    item.difficulty ? el("span", { class: "muted", text: item.difficulty }) : null,
    el("code", { class: "muted", title: item.sample_id, text: String(item.id ?? item.sample_id.slice(0, 12)) }));
  return el("li", {}, why, ...content(item));
}

// The row's pictures and its longest text; the rest is one request away.
function content(item) {
  const row = item.row ?? {};
  const pictures = Object.values(row).filter((value) => value?.base64).map((value) => el("img", { src: `data:${value.media_type};base64,${value.base64}`, alt: `image of ${item.id ?? "the row"}` }));
  const texts = Object.entries(row).filter(([name, value]) => typeof value === "string" && name !== "id").sort((a, b) => b[1].length - a[1].length);
  const [name, text] = texts[0] ?? [];
  const cut = (item.row_cut ?? []).includes(name) ? " …" : "";
  const told = pictures.length ? null : el("p", { class: "content", tabindex: text && text.length > 400 ? "0" : null, text: text === undefined ? "(no text)" : text.trim() === "" ? "(empty)" : text + cut });
  return [...pictures, told].filter(Boolean);
}
