// Rows of the ledger with their data, a page at a time, by action and by reason.

import { count, el, figure, given } from "./parts.js";
import { PAGE, Pages, wholeOf } from "./pages.js";
import { get } from "./rest.js";

const ACTIONS = [["", "all rows"], ["drop", "dropped rows"], ["relabel", "relabelled rows"], ["keep", "kept rows"]];

export class Examples {
  constructor(run, onChoice, onError) {
    Object.assign(this, { run, onChoice, onError, reason: null, pages: new Pages(), asked: 0 });
    const { dropped, relabeled } = run.summary;
    this.action = dropped ? "drop" : relabeled ? "relabel" : "keep";
    this.list = el("ul", { class: "examples", "aria-live": "polite" });
    this.told = el("span", { class: "muted" });
    this.actions = choice("Which rows", ACTIONS, () => this.look({ action: this.actions.value || null }));
    const reasons = Object.entries(run.summary.reasons).map(([name, rows]) => [name, `${name} (${count(rows)})`]);
    this.reasons = choice("Which reason", [["", "any reason"], ...reasons], () => this.look({ reason: this.reasons.value || null }));
    this.back = el("button", { type: "button", text: "Previous page", on: { click: () => this.turn(() => this.pages.back()) } });
    this.forth = el("button", { type: "button", text: "Next page", on: { click: () => this.turn(() => this.pages.forth()) } });
    this.node = el("section", { class: "card full", "aria-label": "Look at the rows" }, el("h3", { text: "Look at the rows" }),
      el("div", { class: "filters" }, this.actions, this.reasons, this.told), this.list, el("div", { class: "row" }, this.back, this.forth));
    this.load();
  }

  // A reason chosen elsewhere on the page: all rows that have it; the same one again: any reason.
  choose(reason) {
    this.look(reason === this.reason ? { reason: null } : { reason, action: null });
  }

  look(change) {
    Object.assign(this, change, { pages: new Pages() });
    this.onChoice();
    this.load();
  }

  async turn(move) {
    move();
    await this.load();
    this.node.scrollIntoView({ block: "start" });
  }

  address() {
    const chosen = { action: this.action, reason: this.reason, cursor: this.pages.cursor() };
    const given = Object.entries(chosen).filter(([, value]) => value !== null);
    return `/v1/runs/${this.run.id}/decisions?${new URLSearchParams([["rows", "true"], ["limit", PAGE], ...given])}`;
  }

  async load() {
    const turn = ++this.asked; // an answer that comes after the next question is not shown
    this.actions.value = this.action ?? "";
    this.reasons.value = this.reason ?? "";
    let page;
    try {
      page = (await get(this.address())).body;
    } catch (error) {
      this.told.textContent = error.message; // stays, when the next poll of the run has gone well
      this.onError(error);
      return;
    }
    if (turn !== this.asked) return;
    this.pages.took(page);
    this.list.replaceChildren(...page.items.map((item) => example(item, page.content)));
    this.back.disabled = this.pages.first;
    this.forth.disabled = this.pages.next === null;
    this.back.parentNode.hidden = this.back.disabled && this.forth.disabled;
    this.told.textContent = this.pages.saying(wholeOf(this.run.summary, this.action, this.reason), count);
  }
}

const choice = (label, options, change) =>
  el("select", { "aria-label": label, on: { change } }, options.map(([value, text]) => el("option", { value, text })));

function example(item, columns) {
  const others = (item.reasons ?? []).filter((reason) => reason !== item.reason);
  const why = el("div", { class: "why" },
    el("span", { class: "chip", "data-colour": item.action, text: item.reason ?? item.action }),
    item.action === "relabel" || item.predicted_label !== null ? el("span", {}, "labelled ", given(item.given_label), item.predicted_label !== null ? " → " : "", item.predicted_label !== null ? el("b", { text: item.predicted_label }) : null) : null,
    others.length ? el("span", { class: "muted", text: `also ${others.join(", ")}` }) : null,
    item.confidence !== null && item.confidence < 1 ? el("span", { class: "muted num", text: `confidence ${figure(item.confidence)}` }) : null,
    item.duplicate_of ? el("span", { class: "muted" }, "repeats ", el("code", { text: item.duplicate_of.slice(0, 12) }), item.similarity !== null ? ` (${figure(item.similarity)})` : "") : null,
    item.difficulty ? el("span", { class: "muted", text: item.difficulty }) : null,
    el("code", { class: "muted", title: item.sample_id, text: String(item.id ?? item.sample_id.slice(0, 12)) }));
  return el("li", {}, why, ...content(item, columns));
}

// What was judged: the row's picture, or its texts with a blank line between them; the rest is one request away.
function content(item, columns) {
  const cells = columns.map((name) => [name, item.row?.[name] ?? null]);
  const pictures = cells.filter(([, value]) => value?.base64).map(([, value]) => el("img", { src: `data:${value.media_type};base64,${value.base64}`, alt: `image of ${item.id ?? "the row"}` }));
  if (pictures.length) return pictures;
  const texts = cells.map(([name, value]) => wording(name, value) + ((item.row_cut ?? []).includes(name) ? " …" : ""));
  const text = texts.filter((part) => part.trim()).join("\n\n") || (columns.length ? "(empty)" : "(what was judged is not known)");
  return [el("p", { class: "content", tabindex: text.length > 400 ? "0" : null, text })];
}

// A cell as text: bytes that are no small picture by their number.
const wording = (name, value) => typeof value === "string" ? value : value?.bytes ? `${name}: ${count(value.bytes)} bytes` : "";
