// The policy's scorecard: what it may promise and how that was measured, in words; every figure below.

import { card, count, el, figure } from "./parts.js";

const share = (x) => `${(100 * x).toFixed(1)}%`;
const known = (x) => x !== null && x !== undefined;

// [what, figures] for those the scorecard has.
function told(scorecard) {
  const { trusted, gate, promise } = scorecard;
  const rows = [
    ["Rows learned from", known(scorecard.rows_learned_from) && count(scorecard.rows_learned_from)],
    ["Trusted rows: all, bad", trusted && [trusted.rows, trusted.bad].filter(known).map(count).join(", ")],
    ["Good rows dropped, measured", known(promise?.false_drop) && `${share(promise.false_drop)} (at most ${share(promise.false_drop_upper)})`],
    ["Average precision: prior, learned", gate && [gate.ap_prior, gate.ap_learned].filter(known).map(figure).join(", ")],
    ["Policy that ranks", scorecard.shipped],
    ["Estimated label noise", known(scorecard.estimated_noise) && `${share(scorecard.estimated_noise)} (${share(scorecard.estimated_noise_low)} to ${share(scorecard.estimated_noise_high)}), from ${count(scorecard.estimated_noise_rows)} trusted rows`],
    ["Label noise the model sees, with no trusted row", known(scorecard.noise_visible_to_model) && `${share(scorecard.noise_visible_to_model)}; systematic errors stay unseen`],
  ];
  return rows.filter(([, value]) => value);
}

// Every figure, nested names joined by a dot.
function* figures(value, name = "") {
  if (!known(value)) return;
  if (Array.isArray(value)) {
    for (const [place, item] of value.slice(0, 20).entries()) yield* figures(item, `${name}.${place}`);
  } else if (typeof value === "object") {
    for (const [key, inner] of Object.entries(value)) yield* figures(inner, name ? `${name}.${key}` : key);
  } else {
    yield [name, typeof value === "number" ? figure(value) : String(value)];
  }
}

function table(rows) {
  return el("table", { class: "figures" }, el("tbody", {}, rows.map(([name, value]) =>
    el("tr", {}, el("td", { class: "muted", text: name.replaceAll("_", " ") }), el("td", { class: "right num", text: value })))));
}

export function scorecard(metrics, isOpen, onToggle) {
  const card_ = metrics.scorecard ?? {};
  const every = [...figures(card_)];
  if (!every.length) return null;
  const warned = card_.warnings ?? []; // shown above all else on the run's page, and nothing to praise
  const words = [card_.promise?.words, card_.why].filter((text) => known(text) && !warned.includes(text));
  return card("Policy scorecard",
    el("p", {}, el("code", { text: metrics.policy ?? "" })),
    words.length ? el("div", { class: "notice good" }, words.map((text) => el("p", { text }))) : null,
    table(told(card_)),
    every.length > 3
      ? el("details", { class: "rare", open: isOpen, on: { toggle: (event) => onToggle(event.target.open) } }, el("summary", { text: `all ${every.length} figures` }), table(every))
      : table(every));
}
