// A run's reviews, on its page: those that were opened, and a way to open one.

import { card, count, el, stack } from "./parts.js";
import { get, Refused, tell } from "./rest.js";

const BUDGET = 50;

export class Reviews {
  // budget: rows the recipe's author is ready to look at; 0 or nothing where it does not say.
  constructor(run, budget, onError) {
    Object.assign(this, { run, onError });
    this.list = el("div", { class: "queues" });
    this.budget = el("input", { type: "number", min: "1", max: "10000", value: String(budget || BUDGET), class: "short", "aria-label": "Rows to review" });
    const open = el("button", { type: "button", text: "Review rows", on: { click: () => this.open() } });
    this.told = el("p", { class: "muted", role: "status" });
    this.node = card("Review: what the run is least sure of, and a random audit", this.list, el("div", { class: "row" }, this.budget, open), this.told);
    this.look();
  }

  async look() {
    try {
      const { body } = await get(`/v1/review/queues?run=${this.run.id}&limit=5`);
      this.list.replaceChildren(...body.items.map(line));
    } catch (error) {
      this.onError(error);
    }
  }

  async open() {
    try {
      const { body } = await tell("/v1/review/queues", { run: this.run.id, budget: Number(this.budget.value) });
      location.hash = body.id;
    } catch (error) {
      if (error instanceof Refused) this.told.textContent = error.message;
      else this.onError(error);
    }
  }
}

const line = (queue) => el("div", { class: "queue" },
  el("a", { href: `#${queue.id}`, text: `${count(queue.num_items)} rows` }),
  stack([{ name: "answered", value: queue.answers_given, colour: "keep" }], queue.answers_wanted),
  el("span", { class: "muted num", text: `${count(queue.answers_given)} of ${count(queue.answers_wanted)} answered` }));
