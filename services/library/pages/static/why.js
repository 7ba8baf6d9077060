// Says why a job waits and when it should start and end, as the scheduler tells it: the log does not know.
// Lives here: asking for it beside everything else, and the words. A scheduler that is away leaves the page as it is.

const AGAIN_MS = 10000;
const LISTED = 200;

let asking = false;

/** Keep the places marked `data-why` filled. Returns the function to call when the page has changed. */
export function explain() {
  fill();
  setInterval(() => document.visibilityState === "visible" && fill(), AGAIN_MS);
  return fill;
}

async function fill() {
  const places = [...document.querySelectorAll("[data-why]")];
  if (asking || !places.length) return;
  asking = true;
  try {
    const query = new URLSearchParams({ limit: LISTED });
    for (const place of places) query.append("job", place.dataset.why);
    const answer = await fetch(`/api/runtime/state?${query}`);
    if (answer.ok) show(await answer.json());
  } catch {
    // it is asked again soon
  } finally {
    asking = false;
  }
}

function show(state) {
  const words = new Map();
  for (const job of state.queue ?? []) words.set(job.job_id, waiting(job, state.queue_total ?? state.queue.length));
  for (const job of state.running ?? []) words.set(job.job_id, running(job));
  for (const place of document.querySelectorAll("[data-why]")) {
    const text = words.get(place.dataset.why) ?? "";
    if (place.textContent !== text) place.textContent = text;
  }
}

function waiting(job, total) {
  const place = job.state === "QUEUED" && job.position ? `Place ${job.position} of ${total}` : "";
  return joined([place, job.reason, expected(job, "start", "starts"), expected(job, "end", "ends")]);
}

function running(job) {
  return joined([job.reason, expected(job, "end", "ends")]);
}

function joined(parts) {
  return parts.filter(Boolean).join(" · ");
}

/** Return "starts about 14:05 (14:00 to 14:20)", or nothing where nothing is expected. */
function expected(job, what, verb) {
  const [at, low, high] = ["", "_low", "_high"].map((end) => job[`expected_${what}${end}`]);
  if (!at) return "";
  const between = low && high && clock(low) !== clock(high) ? ` (${clock(low)} to ${clock(high)})` : "";
  return `${verb} about ${clock(at)}${between}`;
}

function clock(timestamp) {
  const time = new Date(timestamp);
  const today = time.toDateString() === new Date().toDateString();
  return new Intl.DateTimeFormat(undefined, today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" }).format(time);
}
