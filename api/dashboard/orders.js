// What a person may order of a run, and what to tell of one that failed. Knows states and faults; draws nothing.

const ORDERS = {
  queued: ["cancel"], validating: ["cancel", "pause"], running: ["cancel", "pause"], finalizing: ["cancel"],
  pausing: ["cancel"], paused: ["resume", "cancel"],
};

// Going on mends a failure of the machine. A wrong request fails again however often it is tried; damaged bytes are made
// anew by a retry alone.
export function ordersOf(run) {
  if (run.state !== "failed") return ORDERS[run.state] ?? [];
  if (run.error?.resumable) return ["resume", "retry"];
  return run.error?.code === "integrity" ? ["retry"] : [];
}

const PARTS = {
  bad_recipe: "The recipe is wrong", bad_input: "The data cannot be used", bad_trusted: "The trusted sample does not fit",
  integrity: "Stored bytes are damaged",
};

// {what, next}: what is wrong, and what helps.
export function faultOf(run) {
  const { code, resumable } = run.error;
  if (resumable) return { what: "The run stopped", next: "What was committed is kept: resume goes on from there, retry starts from nothing." };
  const what = PARTS[code] ?? "The request is wrong";
  if (code === "integrity") return { what, next: "Retry makes them anew from the data as submitted." };
  return { what, next: "Trying again as it is would fail again: correct this and submit a new run." };
}
