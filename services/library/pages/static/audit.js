// The audit trail, for administrators: filtered by the address, the newest first, older ones on request.
import { call } from "./api.js";
import { device, moment } from "./forms.js";
import { newRow, say } from "./rows.js";

const PER_PAGE = 50;
const TYPING_MS = 250;
const OUTCOMES = { succeeded: "state-done", failed: "state-failed", refused: "state-failed" };

const form = document.getElementById("audit-filter");
const list = document.getElementById("audit-list");
const older = document.getElementById("older");
const place = document.getElementById("audit-message");
const names = new Map([["anonymous", "nobody signed in"], ["local", "this machine"]]);
let last = "";
let asked = 0;
let timer = 0;

start();

async function start() {
  const { items } = await call("/api/users").catch(() => ({ items: [] }));
  for (const user of items) {
    names.set(user.id, user.username);
    form.elements.user.append(new Option(user.username, user.id));
  }
  for (const [name, value] of new URLSearchParams(location.search)) if (form.elements[name]) form.elements[name].value = value;
  await show();
}

form.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(() => show(), TYPING_MS);
});
form.addEventListener("submit", (event) => event.preventDefault());
older.addEventListener("click", () => show(last));

async function show(until = "") {
  const number = ++asked;
  const wanted = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
  history.replaceState(null, "", wanted.size ? `${location.pathname}?${wanted}` : location.pathname);
  wanted.set("limit", PER_PAGE);
  if (until) wanted.set("until", until);
  try {
    const { items } = await call(`/api/audit/recent?${wanted}`);
    if (number !== asked) return;
    if (!until) list.replaceChildren();
    list.append(...items.map(entry));
    offer(items);
    last = items.at(-1)?.time ?? last;
    older.hidden = items.length < PER_PAGE;
    say(place, list.childElementCount ? "" : "Nothing like this happened.");
  } catch (refusal) {
    say(place, refusal.message, true);
  }
}

function entry(event) {
  const { row, part } = newRow("audit-row");
  part("action").textContent = event.action.replaceAll(/[._]/g, " ");
  part("outcome").textContent = event.outcome;
  part("outcome").classList.add(OUTCOMES[event.outcome] ?? "state-paused");
  part("time").dateTime = event.time;
  part("time").textContent = moment(event.time);
  part("actor").textContent = `by ${name(event.actor)}`;
  const parts = {
    about: event.about && event.about !== event.actor ? `about ${name(event.about)}` : "",
    address: event.address && `from ${event.address}`,
    agent: event.agent && device(event.agent),
  };
  for (const [key, text] of Object.entries(parts)) text ? (part(key).textContent = text) : part(key).remove();
  const detail = Object.entries(event.detail).map(([key, value]) => `${key.replaceAll("_", " ")}: ${value}`);
  detail.length ? (part("detail").textContent = detail.join(" · ")) : part("detail").remove();
  return row;
}

function name(id) {
  return names.get(id) ?? id;
}

/** Offer the actions that were seen to the filter. */
function offer(items) {
  const known = document.getElementById("known-actions");
  const there = new Set([...known.children].map((option) => option.value));
  for (const action of new Set(items.map((item) => item.action))) if (!there.has(action)) known.append(new Option("", action));
}
