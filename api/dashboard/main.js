// The page: the list of runs, the run named in the address, the theme, the key.

import { el } from "./parts.js";
import { get, NeedsKey, Poll, Refused, useKey } from "./rest.js";
import { emptyState, runsTable } from "./runs.js";
import { ReviewPage } from "./review.js";
import { RunPage } from "./run.js";

const byId = (id) => document.getElementById(id);
let page = null;

function link(state, told) {
  byId("link").dataset.state = state;
  byId("link").textContent = told;
}

function fault(error) {
  if (error instanceof NeedsKey) {
    byId("key-form").hidden = false;
    byId("key").focus();
    link("down", "needs a key");
  } else {
    link("down", error instanceof Refused ? "refused" : "no answer, trying again");
    byId("fault").textContent = error instanceof Refused ? error.message : "";
    byId("fault").hidden = !(error instanceof Refused);
  }
}

const wanted = () => location.hash.slice(1);

async function lookAtRuns() {
  const { body, changed } = await get("/v1/runs?limit=50");
  link("live", "live");
  byId("key-form").hidden = true;
  byId("fault").hidden = true;
  if (changed || !byId("runs-body").hasChildNodes() || byId("runs-body").dataset.current !== wanted()) {
    const focused = document.activeElement?.getAttribute("href");
    byId("runs-body").dataset.current = wanted();
    byId("runs-body").replaceChildren(body.items.length ? runsTable(body, wanted()) : emptyState());
    if (focused?.startsWith("#run_")) byId("runs-body").querySelector(`a[href="${focused}"]`)?.focus();
  }
  return body.poll_after_ms;
}

const list = new Poll(lookAtRuns, fault);

function show() {
  page?.close();
  page = null;
  const id = wanted();
  const review = id.startsWith("rev_");
  byId("run").hidden = !id.startsWith("run_") && !review;
  byId("runs").hidden = review;
  byId("run").replaceChildren();
  if (review) page = new ReviewPage(byId("run"), id, fault);
  if (id.startsWith("run_")) page = new RunPage(byId("run"), id, fault, () => list.now());
  list.now();
}

window.addEventListener("hashchange", show);
document.addEventListener("visibilitychange", () => document.hidden && link("", "paused"));

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(byId("key").value.trim());
  byId("key").value = "";
  show();
});

const THEME = "winnow.theme";
const dark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
if (localStorage.getItem(THEME)) document.documentElement.dataset.theme = localStorage.getItem(THEME);
byId("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
  localStorage.setItem(THEME, document.documentElement.dataset.theme);
});

get("/version").then(({ body }) => byId("version").replaceChildren(el("span", { text: `${body.name} ${body.version}` })), () => {});
show();
