// The limits of the running system, for administrators: how much of each is used, changing them, and by whom.
import { call } from "./api.js";
import { prepareControls } from "./control.js";
import { say } from "./rows.js";

const LOOK_MS = 3000;
const SETTLE_MS = 400;
const number = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });
const people = document.querySelector("#people dl");
let names = new Map();

prepareControls((form) => {
  for (const field of form.querySelectorAll("input")) field.defaultValue = field.value;
  setTimeout(look, SETTLE_MS); // the scheduler hears of it a moment later
});
start();

async function start() {
  const { items } = await call("/api/users").catch(() => ({ items: [] }));
  names = new Map([["local", "this machine"], ...items.map((user) => [user.id, user.username])]);
  await look();
  setInterval(() => document.hidden || look(), LOOK_MS);
}

async function look() {
  const place = document.getElementById("limits-message");
  try {
    const state = await call("/api/runtime/state?limit=1");
    for (const cap of state.caps) show(cap);
    showPeople(state.over_users);
    say(place, "");
  } catch (refusal) {
    say(place, refusal.message, true);
  }
}

/** Show one limit; what somebody is typing stays. */
function show({ name, used, limit, overridden }) {
  const row = document.querySelector(`[data-cap="${CSS.escape(name)}"]`);
  if (!row) return; // of a newer scheduler
  row.querySelector("[data-used]").textContent = number.format(used);
  row.querySelector("[data-overridden]").hidden = !overridden;
  row.querySelector("[data-reset]").hidden = !overridden;
  const field = row.querySelector("input");
  if (field !== document.activeElement && field.value === field.defaultValue) field.value = field.defaultValue = limit;
}

function showPeople(users) {
  const rows = users.flatMap((one) => {
    const minutes = `${number.format(one.minutes_today)} of ${one.minutes_limit ? number.format(one.minutes_limit) : "any"} min`;
    const words = `${one.running} running, ${one.queued} waiting, ${one.jobs_today} jobs, ${minutes}`;
    return [Object.assign(document.createElement("dt"), { textContent: names.get(one.owner) ?? one.owner }), Object.assign(document.createElement("dd"), { textContent: words })];
  });
  people.replaceChildren(...rows);
  document.getElementById("nobody").hidden = rows.length > 0;
}
