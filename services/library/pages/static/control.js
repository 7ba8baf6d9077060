// Forms that change something: sent without leaving the page, and a refusal shown in its own words beside them.
// Lives here: that. What changed comes over the event stream (`live.js`), so nothing is drawn here.
// A form marked `data-control` may have: `data-method`; `data-body` (JSON to send) or `data-json` (send the fields);
// `data-ask`, `data-goes`, `data-yes` (ask first); `data-then` (go there); `data-clears`; `data-closes` (the `<details>`
// that it is in); `data-done` (say so). A field may have `data-null` or `data-leave-out` (what empty means); `data-list`;
// `data-in` (the member that holds it; empty is left out); `data-typed` (its values are JSON).

import { call } from "./api.js";
import { ask } from "./confirm.js";
import { hold } from "./live.js";
import { mark, unmark } from "./marks.js";

/** Take over every form marked `data-control`, also those that a refresh brings. `done(form, answer)` runs after each. */
export function prepareControls(done = () => {}) {
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-control]")) return;
    event.preventDefault();
    submit(event.target, done);
  });
  const reveal = (event) => event.target.closest("details:not([open])")?.setAttribute("open", "");
  document.addEventListener("invalid", reveal, true); // the browser points at a field only where it can be seen
}

async function submit(form, done) {
  const { ask: question, goes, yes } = form.dataset;
  if (question && !(await ask(question, goes, yes))) return;
  const button = form.querySelector("button:not([type=button])");
  if (button) button.disabled = true;
  tell(form, "");
  unmark(form);
  hold(Boolean(form.dataset.then));
  try {
    const answer = await call(form.action, form.dataset.method ?? "POST", body(form));
    if (form.dataset.then) return location.assign(form.dataset.then);
    if (form.hasAttribute("data-clears")) form.reset();
    if (form.hasAttribute("data-closes")) close(form.closest("details"));
    if (form.dataset.done) tell(form, form.dataset.done, false);
    done(form, answer);
  } catch (refusal) {
    hold(false);
    tell(form, mark(form, refusal));
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
    } else if (field.dataset.in) {
      const group = (members[field.dataset.in] ??= {});
      if (field.value !== "") group[field.name] = typed(field);
    } else if (field.value !== "" || !field.hasAttribute("data-leave-out")) {
      members[field.name] = field.value === "" && field.hasAttribute("data-null") ? null : field.value;
    }
  }
  return members;
}

function typed(field) {
  if (field.type === "number") return field.valueAsNumber;
  return field.hasAttribute("data-typed") ? JSON.parse(field.value) : field.value;
}

function close(details) {
  details.open = false;
  details.querySelector("summary").focus();
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
