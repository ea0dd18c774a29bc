// A walk over the pages of a list that gives out cursors: forth by the cursor, back by those already passed.

export const PAGE = 20;

export class Pages {
  constructor() {
    this.passed = [null]; // the cursor each page so far began with; the last is the page shown
    this.next = null;
    this.shown = 0;
  }

  // What was asked with `cursor()` has come.
  took(page) {
    this.next = page.next_cursor;
    this.shown = page.items.length;
  }

  cursor() {
    return this.passed.at(-1);
  }

  forth() {
    if (this.next !== null) this.passed.push(this.next);
  }

  back() {
    if (this.passed.length > 1) this.passed.pop();
  }

  get first() {
    return this.passed.length === 1;
  }

  // "rows 21–40 of 143"; `whole` is null where nobody has counted.
  saying(whole, count = String) {
    if (!this.shown) return this.first ? "no such rows" : "no more rows";
    const start = PAGE * (this.passed.length - 1);
    const range = `rows ${count(start + 1)}–${count(start + this.shown)}`;
    return whole === null ? range : `${range} of ${count(whole)}`;
  }
}

// How many rows have this action (null: any) and this reason (null: any or none); null where the summary does not say.
export function wholeOf(summary, action, reason) {
  if (reason !== null) return action === null ? summary.reasons[reason] ?? null : null;
  const rows = { drop: summary.dropped, relabel: summary.relabeled, keep: summary.kept - summary.relabeled };
  return action === null ? summary.rows_in : rows[action];
}
