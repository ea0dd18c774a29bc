// The server, asked politely: with the ETag of what is known, no more often than it says, never from a hidden tab.

const known = new Map(); // path -> {etag, body}
const KEY = "winnow.key";
export class NeedsKey extends Error {}
export class Refused extends Error {}

export const useKey = (key) => sessionStorage.setItem(KEY, key);

async function send(path, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  const answer = await fetch(path, { ...options, headers, cache: "no-store" });
  if (answer.status === 401) throw new NeedsKey();
  if (answer.status >= 400) {
    const problem = await answer.json().catch(() => ({}));
    throw new Refused(problem.detail ?? `the server answered ${answer.status}`);
  }
  return answer;
}

// {body, changed}: `changed` is false when the server said 304.
export async function get(path) {
  const before = known.get(path);
  const answer = await send(path, { headers: before ? { "If-None-Match": before.etag } : {} });
  if (answer.status === 304) return { body: before.body, changed: false };
  const body = await answer.json();
  known.set(path, { etag: answer.headers.get("ETag"), body });
  return { body, changed: true };
}

export const post = async (path) => (await send(path, { method: "POST" })).json();

// A POST with a body: what is answered, and its ETag.
export async function tell(path, body, options = {}) {
  const sent = body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  const answer = await send(path, { method: "POST", ...sent, ...options });
  return { body: await answer.json(), etag: answer.headers.get("ETag") };
}

// A file saved under a name; fetched, as a link could not show the key.
export async function download(path, name) {
  const url = URL.createObjectURL(await (await send(path)).blob());
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// Calls `look` now and again after as many milliseconds as it answers (null: only once more when the tab is shown
// again). Nothing is asked while the tab is hidden.
export class Poll {
  constructor(look, onError) {
    this.look = look;
    this.onError = onError;
    this.timer = null;
    this.stopped = false;
    this.faults = 0;
    this.visible = () => (document.hidden ? clearTimeout(this.timer) : this.now());
    document.addEventListener("visibilitychange", this.visible);
    this.now();
  }

  async now() {
    clearTimeout(this.timer);
    if (this.stopped || document.hidden) return;
    let wait;
    try {
      wait = await this.look();
      this.faults = 0;
    } catch (error) {
      this.faults += 1;
      this.onError(error);
      if (error instanceof NeedsKey) return;
      wait = Math.min(1000 * 2 ** this.faults, 15000);
    }
    if (!this.stopped && !document.hidden && wait !== null) this.timer = setTimeout(() => this.now(), wait);
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.visible);
  }
}
