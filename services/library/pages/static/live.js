// Keeps a server-rendered page live: listens to the event stream, and fetches the page again where something changed.
// Lives here: the stream, its fallback to polling, swapping parts, announcing. Pages say what they follow.

import { isSignIn, toSignIn } from "./api.js";

const POLL_MS = 3000;
const ANNOUNCE_MS = 5000;
const SETTLE_MS = 150;
const GONE = 410;

/** Follow `url` from sequence `after`; `changed` runs (not too often) after stored events, `progressed` on progress. */
export function follow(url, after, changed, progressed) {
  let timer = 0;
  let polling = 0;
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(changed, SETTLE_MS);
  };
  const poll = (on) => {
    if (on && !polling) polling = setInterval(changed, POLL_MS);
    if (!on) polling = clearInterval(polling) ?? 0;
  };
  if (!window.EventSource) return poll(true);
  const connect = () => {
    const source = new EventSource(`${url}?after=${after}`);
    source.onopen = () => poll(false);
    source.onmessage = (event) => {
      after = event.lastEventId || after;
      soon();
    };
    source.addEventListener("progress", (event) => progressed(JSON.parse(event.data)));
    source.onerror = () => {
      poll(true);
      soon(); // perhaps the session is over: then the page leads to the sign-in
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, POLL_MS);
    };
    addEventListener("pagehide", () => source.close(), { once: true });
  };
  connect();
}

let asked = 0;
let held = false;

/** Keep the page as it is while it is being left: what it is about may be gone before the next page is there. */
export function hold(on) {
  held = on;
}

/** Fetch this page again and take over the elements with an id whose `data-version` is another now. */
export async function refresh() {
  if (held) return;
  const number = ++asked;
  let text;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.status === GONE) return location.reload(); // what it was about was deleted; its page says so
    if (isSignIn(answer)) return toSignIn();
    if (!answer.ok) return;
    text = await answer.text();
  } catch {
    return; // the service is away; the next event or poll tries again
  }
  if (held || number !== asked) return; // a later one has been asked for, perhaps of another filter
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const list of document.querySelectorAll("[data-live=list]")) reconcile(list, fresh.getElementById(list.id));
  for (const part of document.querySelectorAll("[id][data-version]")) {
    const other = fresh.getElementById(part.id);
    if (other && other.dataset.version !== part.dataset.version && !busy(part)) swap(part, other);
  }
  document.dispatchEvent(new Event("refreshed"));
}

/** Whether somebody is writing or choosing in it: it is taken over by the next refresh after that. */
function busy(part) {
  const field = document.activeElement;
  if (!part.contains(field)) return false;
  return field.matches("select") || (field.matches("input:not([type=checkbox])") && field.value !== field.defaultValue);
}

function reconcile(list, fresh) {
  if (!fresh) return;
  const wanted = new Set([...fresh.children].map((row) => row.id));
  for (const row of [...list.children]) if (!wanted.has(row.id)) row.remove();
  [...fresh.children].forEach((row, place) => {
    const here = document.getElementById(row.id);
    if (!here) {
      list.insertBefore(localise(document.adoptNode(row)), list.children[place] ?? null);
    } else if (list.children[place] !== here) {
      list.insertBefore(here, list.children[place]);
    }
  });
}

function swap(part, other) {
  const before = part.contains(document.activeElement) ? focusMark(document.activeElement) : null;
  part.replaceWith(localise(document.adoptNode(other)));
  if (before) document.querySelector(before)?.focus();
}

/** Return a selector of what has the focus, so that its successor gets it. */
function focusMark(element) {
  if (element.id) return `#${CSS.escape(element.id)}`;
  if (element.dataset.pick) return `[data-pick="${CSS.escape(element.dataset.pick)}"]`;
  if (element.hasAttribute("href")) return `a[href="${CSS.escape(element.getAttribute("href"))}"]`;
  const action = element.form?.getAttribute("action");
  return action ? `form[action="${CSS.escape(action)}"] button` : null;
}

const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** Write times in the reader's own zone and language; in a history to the second. */
export function localise(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const format = time.closest(".history") ? EXACT : MOMENT;
    time.textContent = format.format(new Date(time.dateTime));
  }
  return root;
}

/** Show live progress of one job wherever it is on the page. */
export function showProgress(progress) {
  for (const place of document.querySelectorAll(`[data-job="${CSS.escape(progress.job_id)}"]`)) {
    const bar = place.querySelector("progress.bar:not(.thin)");
    if (bar) bar.value = Math.max(bar.value, progress.progress);
    const message = place.querySelector(".job-message");
    if (message) message.textContent = `${progress.message} · ${Math.round(progress.progress * 100)} %`;
    const stage = place.querySelector(`[data-stage="${CSS.escape(progress.stage)}"] progress`);
    if (stage) stage.value = progress.fraction;
  }
}

let announced = "";
let announcedAt = 0;

/** Tell a screen reader, at most every few seconds and never the same thing twice. */
export function announce(text) {
  const now = Date.now();
  if (text === announced || now - announcedAt < ANNOUNCE_MS) return;
  announced = text;
  announcedAt = now;
  document.getElementById("announcer").textContent = text;
}
