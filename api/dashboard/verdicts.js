// What a reviewer may say of a row, and the keys that say it. Knows queues and items; draws nothing, asks nothing.

const MOST_KEYS = 9;

// [{key, says, action, label, decided}]: keep and drop, and a relabel for every other class the row could have. A class
// has the same key on every row, so that fingers can learn it. `decided`: what the run itself did.
export function choicesOf(queue, item) {
  const { action, given_label: given, predicted_label: predicted } = item.verdict;
  const classes = queue.label === null ? [] : queue.classes.map((label, place) => ({ label, key: place < MOST_KEYS ? String(place + 1) : null }));
  return [
    { key: "k", says: queue.label === null ? "Keep" : `Keep: ${given ?? "no label"}`, action: "keep", label: null, decided: action === "keep" },
    { key: "d", says: "Drop", action: "drop", label: null, decided: action === "drop" },
    ...classes.filter(({ label }) => label !== given).map(({ label, key }) => ({
      key, says: String(label), action: "relabel", label, decided: action === "relabel" && label === predicted,
    })),
  ];
}

// The choice a key stands for; null for any other, and where the person is typing or means the browser.
export function chosenBy(event, choices) {
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  if (["INPUT", "SELECT", "TEXTAREA"].includes(event.target?.tagName)) return null;
  return choices.find((choice) => choice.key !== null && choice.key === event.key.toLowerCase()) ?? null;
}

export const bodyOf = (choice, lease) =>
  choice.action === "relabel" ? { action: "relabel", label: choice.label, lease } : { action: choice.action, lease };

// Why this row is asked about, in words.
export function whyOf(item, figure) {
  if (item.why === "audit") return "drawn at random";
  const sure = item.verdict.confidence;
  return sure === null ? "the run could not judge it" : `the run is ${figure(100 * sure)}% sure`;
}
