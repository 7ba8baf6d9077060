// Forms that change something: sent without leaving the page, and a refusal shown in its own words beside them.
// Lives here: that. What changed comes over the event stream (`live.js`), so nothing is drawn here.
// A form marked `data-control` may have: `data-method`; `data-body` (JSON to send) or `data-json` (send the fields);
// `data-ask`, `data-goes`, `data-yes` (ask first); `data-then` (go there); `data-clears`; `data-done` (say so).

import { call } from "./api.js";
import { ask } from "./confirm.js";
import { hold } from "./live.js";

/** Take over every form marked `data-control`, also those that a refresh brings. `done(form, answer)` runs after each. */
export function prepareControls(done = () => {}) {
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-control]")) return;
    event.preventDefault();
    submit(event.target, done);
  });
  document.addEventListener("change", (event) => {
    const form = event.target.closest?.("form[data-changes]");
    if (form) submit(form, done);
  });
}

async function submit(form, done) {
  const { ask: question, goes, yes } = form.dataset;
  if (question && !(await ask(question, goes, yes))) return;
  const button = form.querySelector("button:not([type=button])");
  if (button) button.disabled = true;
  tell(form, "");
  hold(Boolean(form.dataset.then));
  try {
    const answer = await call(form.action, form.dataset.method ?? "POST", body(form));
    if (form.dataset.then) return location.assign(form.dataset.then);
    if (form.hasAttribute("data-clears")) form.reset();
    if (form.dataset.done) tell(form, form.dataset.done, false);
    done(form, answer);
  } catch (refusal) {
    hold(false);
    tell(form, refusal.message);
  } finally {
    if (button) button.disabled = false;
  }
}

function body(form) {
  if (form.dataset.body) return form.dataset.body;
  if (!form.hasAttribute("data-json")) return undefined;
  const members = {};
  for (const field of form.elements) {
    if (!field.name) continue;
    if (field.hasAttribute("data-list")) {
      members[field.name] ??= [];
      if (field.checked) members[field.name].push(field.value);
    } else if (field.value !== "" || !field.hasAttribute("data-leave-out")) {
      members[field.name] = field.value === "" && field.hasAttribute("data-null") ? null : field.value;
    }
  }
  return members;
}

/** Say something beside a form: in it, in its row, or below its section. */
export function tell(form, text, bad = true) {
  const section = form.closest("section");
  const message =
    form.querySelector(".message") ??
    form.closest(".row, .hook")?.querySelector(".message") ??
    document.querySelector(`[data-message="${CSS.escape(section?.id ?? "")}"]`) ??
    section?.querySelector(".message");
  if (!message) return;
  message.textContent = text;
  message.classList.toggle("bad", bad && text !== "");
}
