// Pieces of the page as DOM nodes. Text goes in by textContent alone, so a dataset's text is never markup.

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [kind, act] of Object.entries(value)) node.addEventListener(kind, act);
    else if (name === "text") node.textContent = value;
    else if (name === "width") node.style.width = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) if (child !== null && child !== undefined) node.append(child);
  return node;
}

// The label a row came with; none at all is not the class called "null".
export const given = (label) => label === null || label === undefined ? el("i", { text: "no label" }) : el("b", { text: label });

export const count = (n) => Number(n).toLocaleString("en");
export const percent = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(part && part / whole < 0.01 ? 2 : 1)}%` : "–");
export const figure = (x) => (Number.isInteger(x) ? count(x) : Number(x).toPrecision(3).replace(/\.?0+$/, ""));

export function seconds(s) {
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 90) return `${s.toFixed(1)} s`;
  return s < 5400 ? `${Math.floor(s / 60)} min ${Math.round(s % 60)} s` : `${(s / 3600).toFixed(1)} h`;
}

export function ago(moment) {
  const s = Math.max(0, (Date.now() - new Date(moment)) / 1000);
  if (s < 60) return "just now";
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ago`;
  return new Date(moment).toLocaleDateString();
}

const KINDS = { succeeded: "good", failed: "bad", lost: "bad", queued: "still", paused: "still", cancelled: "still" };
export const state = (name) => el("span", { class: "state", "data-kind": KINDS[name] ?? "busy", text: name });

// One bar cut into parts: [{name, value, colour}] of a whole. Read out as a sentence.
export function stack(parts, whole, { tall = false } = {}) {
  const said = parts.map((part) => `${part.name} ${count(part.value)}`).join(", ");
  return el(
    "div",
    { class: tall ? "stack tall" : "stack", role: "img", "aria-label": `${said} of ${count(whole)} rows` },
    parts.map((part) => el("i", { "data-colour": part.colour, width: `${whole ? (100 * part.value) / whole : 0}%` })),
  );
}

export function legend(parts, whole) {
  return el(
    "ul",
    { class: "legend" },
    parts.map((part) =>
      el("li", {}, el("i", { "data-colour": part.colour }), `${part.name} `, el("b", { text: count(part.value) }),
        el("span", { class: "muted", text: ` ${percent(part.value, whole)}` })),
    ),
  );
}

// Rows of bars: [{name, value, told, colour, title}]; `choose` makes the names buttons.
export function bars(rows, { choose = null, chosen = null, most = null } = {}) {
  const whole = Math.max(most ?? Math.max(...rows.map((row) => row.value)), 1e-9);
  return el(
    "dl",
    { class: "bars" },
    rows.map((row) => [
      el("dt", {}, choose
        ? el("button", { type: "button", text: row.name, "aria-pressed": String(row.name === chosen), title: `Show rows with ${row.name}`, on: { click: () => choose(row.name) } })
        : el("span", { text: row.name })),
      el("dd", { class: "track" }, el("i", { "data-colour": row.colour, width: `${(100 * row.value) / whole}%` })),
      el("dd", { class: "num muted", text: row.told }),
    ]),
  );
}

export function copyButton(text, label = "Copy") {
  const button = el("button", { type: "button", text: label, "aria-label": `${label} ${text}` });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select it and press Ctrl-C";
    }
    setTimeout(() => (button.textContent = label), 1600);
  });
  return button;
}

export const card = (title, ...children) => el("section", { class: "card" }, el("h3", { text: title }), ...children);
