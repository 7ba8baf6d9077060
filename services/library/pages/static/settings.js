// Settings: what one's own dubs begin with, or for an admin a user's; what is left for today; what holds for all.
import { call } from "./api.js";
import { moment } from "./forms.js";
import { offerLanguages } from "./languages.js";
import { mark, unmark } from "./marks.js";
import { attempt, say } from "./rows.js";
import { size } from "./sources.js";

const MB = 1 << 20;
const MINUTE_MS = 60_000;
const number = new Intl.NumberFormat();
const LIMITS = {
  MAX_UPLOAD_MB: ["Largest video", (value) => size(value * MB)],
  MAX_VIDEO_MIN: ["Longest video", (value) => `${number.format(value)} min`],
  MAX_VIDEO_WIDTH: ["Widest picture", pixels],
  MAX_VIDEO_HEIGHT: ["Highest picture", pixels],
  MAX_VIDEO_PIXELS: ["Largest picture", pixels],
  MAX_OPEN_UPLOADS: ["Uploads of one user at once", number.format],
  MAX_OPEN_UPLOAD_MB: ["Together they take", (value) => size(value * MB)],
  UPLOAD_TTL_HOURS: ["An unused upload is kept", (value) => `${number.format(value)} h`],
};
const LEFT = {
  jobs_today: ["Jobs", number.format],
  minutes_today: ["Minutes of video", (value) => number.format(Math.floor(value))],
  queued: ["Places in the queue", number.format],
  running: ["Jobs that may run at once", number.format],
  stored_bytes: ["Room for uploads and results", size],
};

const form = document.getElementById("defaults");
const place = form.querySelector(".message");
const button = form.querySelector("button");
const { path, user } = form.dataset;
let kept = {};

show().catch((refusal) => say(place, refusal.message, true));
if (user) showName().catch(() => null); // what the form says of this user is enough
else showLeft();
form.addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});

async function show() {
  const [settings] = await Promise.all([call(path), offerLanguages(form)]);
  fill(settings);
  list("installation", LIMITS, settings.system.limits);
  if (button) form.querySelector("fieldset").disabled = false; // not before: what is chosen would be filled over
}

function fill({ defaults, system, updated_at: updated }) {
  kept = defaults;
  for (const field of fields()) {
    const name = system.defaults[field.name];
    field.options[0].textContent = `As the system: ${option(field, name)?.text ?? language(name)}`;
    const value = defaults[field.name] ?? "";
    if (!option(field, value)) field.append(new Option(language(value), value));
    field.value = value;
  }
  document.getElementById("updated").textContent = updated ? `Saved ${moment(updated)}.` : "Nothing was ever saved.";
}

/** All of it is replaced, so what has no field here goes along as it is. */
function save() {
  unmark(form);
  attempt(button, place, async () => {
    const chosen = Object.fromEntries(fields().map((field) => [field.name, field.value || null]));
    try {
      fill(await call(path, "PUT", { defaults: { ...kept, ...chosen } }));
    } catch (refusal) {
      throw new Error(mark(form, refusal));
    }
    say(place, "Saved.");
  });
}

async function showName() {
  const { username } = await call(`/api/users/${encodeURIComponent(user)}`);
  document.getElementById("settings-title").textContent = `Settings of ${username}`;
}

async function showLeft() {
  const message = document.querySelector("#left .message");
  try {
    const left = await call("/api/settings/left");
    list("left", LEFT, left);
    const again = Math.round((Date.now() / 1000 + left.reset_seconds) / 60) * MINUTE_MS;
    say(message, `The day's counters begin again ${moment(again)}.`);
  } catch (refusal) {
    say(message, refusal.message, true);
  }
}

/** Fill a list of terms: what `names` knows, in its words; null is no limit, and what has no words is left out. */
function list(section, names, values) {
  const rows = Object.entries(names).flatMap(([name, [term, words]]) => {
    const text = values[name] === null ? "no limit" : words(values[name] ?? 0);
    return text ? [element("dt", term), element("dd", text)] : [];
  });
  document.querySelector(`#${section} dl`).replaceChildren(...rows);
}

function element(name, text) {
  return Object.assign(document.createElement(name), { textContent: text });
}

function fields() {
  return [...form.elements].filter((field) => field.name);
}

function option(field, value) {
  return [...field.options].find((one) => one.value === value);
}

function language(code) {
  return new Intl.DisplayNames(undefined, { type: "language" }).of(code) ?? code;
}

function pixels(value) {
  return value && `${number.format(value)} pixels`;
}
