// One review: claim a few rows, look at one, say what is true of it, next; at the end, use what was said.

import { card, count, el, figure, given, percent, stack } from "./parts.js";
import { download, get, Poll, Refused, tell } from "./rest.js";
import { bodyOf, choicesOf, chosenBy, whyOf } from "./verdicts.js";

const CLAIM = 5;

export class ReviewPage {
  constructor(place, id, onError) {
    Object.assign(this, { place, id, onError, queue: null, held: [], last: null, asking: false, empty: false, said: "", choices: [] });
    this.address = `/v1/review/queues/${id}`;
    this.top = el("div");
    this.main = el("div", { class: "review" });
    place.replaceChildren(this.top, this.main);
    this.pressed = (event) => this.key(event);
    this.left = () => this.release();
    document.addEventListener("keydown", this.pressed);
    window.addEventListener("pagehide", this.left);
    this.poll = new Poll(() => this.look(), onError);
  }

  close() {
    this.poll.stop();
    document.removeEventListener("keydown", this.pressed);
    window.removeEventListener("pagehide", this.left);
    this.release();
  }

  // Rows claimed and not answered go back at once rather than when their lease runs out.
  release() {
    for (const item of this.held.splice(0)) {
      tell(`/v1/review/items/${item.id}:release`, { lease: item.lease.token }, { keepalive: true }).catch(() => {});
    }
  }

  async look() {
    const { body, changed } = await get(this.address);
    const first = this.queue === null;
    this.queue = body;
    if (changed || first) this.head();
    if (first) await this.next();
    return body.poll_after_ms;
  }

  async next() {
    if (!this.held.length) {
      this.held = (await tell(`${this.address}:claim?n=${CLAIM}`)).body.items;
      this.empty = !this.held.length;
    }
    this.draw();
  }

  // One request at a time: a key pressed twice is one answer.
  async once(act) {
    if (this.asking) return;
    this.asking = true;
    try {
      await act();
    } catch (error) {
      if (!(error instanceof Refused)) this.onError(error);
      else this.said = error.message;
      this.draw();
    } finally {
      this.asking = false;
    }
    this.poll.now();
  }

  say(choice) {
    return this.settle(async (item) => {
      const { etag } = await tell(`/v1/review/items/${item.id}/verdict`, bodyOf(choice, item.lease.token));
      this.last = { ...item, lease: { token: etag.replaceAll('"', "") } };
    });
  }

  skip() {
    return this.settle((item) => tell(`/v1/review/items/${item.id}:skip`, { lease: item.lease.token }));
  }

  // Done with the row at hand. A refused answer is not sent again, the row is somebody else's by now; one that did not
  // get through leaves the row where it was.
  settle(act) {
    return this.once(async () => {
      const item = this.held.shift();
      if (!item) return;
      this.said = "";
      try {
        await act(item);
      } catch (error) {
        if (!(error instanceof Refused)) {
          this.held.unshift(item);
          throw error;
        }
        this.said = error.message;
      }
      await this.next();
    });
  }

  back() {
    if (!this.last || this.asking) return;
    this.held.unshift(this.last);
    this.last = null;
    this.said = "Your last answer: what you say now replaces it.";
    this.draw();
  }

  key(event) {
    if (event.repeat) return;
    const choice = this.held.length ? chosenBy(event, this.choices) : null;
    const plain = chosenBy(event, [{ key: "s" }, { key: "u" }])?.key;
    if (choice) this.say(choice);
    else if (plain === "s") this.skip();
    else if (plain === "u") this.back();
    else return;
    event.preventDefault();
  }

  head() {
    const { queue } = this;
    const { settled, disputed } = queue.states;
    const parts = [{ name: "answered", value: queue.answers_given, colour: "keep" }];
    this.top.replaceChildren(
      el("div", { class: "head" }, el("h2", { text: `Review of ${queue.num_items} rows` }), el("div", { class: "actions" }, el("a", { href: `#${queue.run}`, text: "Back to the run" }))),
      el("p", { class: "facts" }, el("code", { text: queue.id }), el("span", { text: `${count(queue.answers_given)} of ${count(queue.answers_wanted)} answers` }),
        el("span", { text: `${count(settled)} rows settled` }), disputed ? el("span", { text: `${count(disputed)} disputed` }) : null,
        queue.skipped ? el("span", { text: `${count(queue.skipped)} skipped` }) : null),
      stack(parts, queue.answers_wanted));
    if (this.empty) this.draw();
  }

  draw() {
    const item = this.held[0];
    this.choices = item ? choicesOf(this.queue, item) : [];
    const notice = this.said ? el("p", { class: "notice", role: "status", text: this.said }) : null;
    const parts = item ? [this.row(item), this.buttons()] : this.empty ? this.ending() : [el("p", { class: "muted", text: "Claiming rows…" })];
    this.main.replaceChildren(...[notice, ...parts].filter(Boolean));
  }

  row(item) {
    const { verdict } = item;
    const labels = verdict.predicted_label !== null && verdict.predicted_label !== undefined
      ? el("span", {}, "given ", given(verdict.given_label), ", proposed ", el("b", { text: verdict.predicted_label }))
      : this.queue.label === null ? null : el("span", {}, "given ", given(verdict.given_label));
    return el("section", { class: "card", "aria-label": "The row" },
      el("div", { class: "why" }, el("span", { class: "chip", "data-colour": verdict.action, text: verdict.reason ?? verdict.action }), labels,
        el("span", { class: "muted", text: whyOf(item, figure) }), el("code", { class: "muted", title: item.sample_id, text: String(verdict.id ?? item.sample_id.slice(0, 12)) })),
      contents(item, this.queue));
  }

  buttons() {
    const button = (choice) => el("button", { type: "button", class: choice.decided ? "decided" : null, title: choice.decided ? "What the run decided" : null, on: { click: () => this.say(choice) } },
      choice.key ? el("kbd", { text: choice.key.toUpperCase() }) : null, choice.says);
    return el("div", { class: "choices", role: "group", "aria-label": "Your verdict" }, this.choices.map(button),
      el("button", { type: "button", class: "quiet-choice", on: { click: () => this.skip() } }, el("kbd", { text: "S" }), "Skip"),
      this.last ? el("button", { type: "button", class: "quiet-choice", on: { click: () => this.back() } }, el("kbd", { text: "U" }), "Change my last answer") : null);
  }

  ending() {
    const { queue } = this;
    const open = queue.answers_wanted - queue.answers_given;
    const others = open === 1 ? "one answer is for somebody else to give" : `${count(open)} answers are for others to give`;
    const told = open ? `Nothing is left to ask you; ${others}.` : "Every row is answered.";
    const uses = queue.states.settled
      ? el("div", { class: "row" },
        el("button", { type: "button", text: "Apply to a new manifest", on: { click: () => this.apply() } }),
        queue.trusted_rows ? el("button", { type: "button", text: "Download as a trusted sample", title: `${count(queue.trusted_rows)} rows of this review, and the run's own trusted rows`, on: { click: () => this.once(() => download(`${this.address}/trusted?with_trusted=true`, `${queue.id}.parquet`)) } }) : null,
        this.last ? el("button", { type: "button", text: "Change my last answer", on: { click: () => this.back() } }) : null)
      : null;
    return [el("section", { class: "card ending" }, el("p", { class: "big", text: told }), uses), answered(queue) ? card("What came of it", findings(queue)) : null].filter(Boolean);
  }

  apply() {
    return this.once(async () => {
      const { body } = await tell(`${this.address}:apply`, {});
      this.said = `Manifest ${body.manifest}: ${count(body.changed)} rows are as the review says.`;
      this.draw();
    });
  }
}

// Whether there is anything to tell of a review yet.
const answered = ({ uncertain, audit, agreement, states }) => Boolean(uncertain.settled || audit.settled || agreement.items || states.disputed);

// Figures of a review that has answers.
export function findings(queue) {
  const { agreement } = queue;
  const part = (name, { settled, confirmed }) => settled ? [name, `${count(confirmed)} of ${count(settled)} (${percent(confirmed, settled)})`] : null;
  const rows = [
    part("The run was right where it was unsure", queue.uncertain),
    part("The run was right on rows drawn at random", queue.audit),
    agreement.items ? ["Reviewers agree on rows asked of two", `${percent(agreement.agreement * agreement.items, agreement.items)}${agreement.kappa === null ? "" : `, Cohen's kappa ${figure(agreement.kappa)}`}`] : null,
    queue.states.disputed ? ["Disputed rows, left as they are", count(queue.states.disputed)] : null,
  ].filter(Boolean);
  return el("table", { class: "figures" }, el("tbody", {}, rows.map(([name, value]) =>
    el("tr", {}, el("td", { class: "muted", text: name }), el("td", { class: "right num", text: value })))));
}

// The row's pictures and texts by column: what was judged, then the rest, the longest first; ids and the label are told
// above.
function contents(item, queue) {
  const row = item.row ?? {};
  const shown = Object.entries(row).filter(([name]) => name !== queue.label && name !== "label_before");
  const pictures = shown.filter(([, value]) => value?.base64).map(([name, value]) => el("img", { src: `data:${value.media_type};base64,${value.base64}`, alt: name }));
  const rest = shown.filter(([name, value]) => !queue.content.includes(name) && typeof value === "string" && value !== String(item.verdict.id)).sort((a, b) => b[1].length - a[1].length);
  const judged = queue.content.map((name) => [name, row[name] ?? ""]).filter(([, value]) => typeof value === "string");
  const texts = [...judged, ...rest];
  const told = texts.map(([name, text]) => [texts.length > 1 ? el("h3", { text: name }) : null,
    el("p", { class: "content", tabindex: "0", text: (text.trim() === "" ? "(empty)" : text) + (item.row_cut.includes(name) ? " …" : "") })]);
  return el("div", { class: "contents" }, pictures, told, pictures.length || texts.length ? null : el("p", { class: "muted", text: "(no text and no picture)" }));
}
