// What is done with several jobs of the list at once: each is asked for by itself, and the refusals are told together.

import { call } from "./api.js";
import { ask } from "./confirm.js";

const AT_ONCE = 4;
const TOLD = 3;

const picked = new Set();

/** Prepare the boxes of the rows and the bar above them. */
export function prepareBulk(bar) {
  document.addEventListener("change", (event) => {
    const id = event.target.dataset?.pick;
    if (!id) return;
    event.target.checked ? picked.add(id) : picked.delete(id);
    show(bar);
  });
  document.addEventListener("refreshed", () => show(bar));
  bar.addEventListener("click", (event) => {
    const { select, bulk } = event.target.dataset;
    if (select) {
      picked.clear();
      if (select === "all") for (const box of boxes()) picked.add(box.dataset.pick);
      show(bar);
    } else if (bulk && event.target.matches("button")) {
      act(bar, bulk);
    }
  });
  bar.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    act(bar, "tag", event.target);
  });
  show(bar);
}

function boxes() {
  return document.querySelectorAll("[data-pick]");
}

/** Rows come and go: what is not shown any more is not picked any more. */
function show(bar) {
  const shown = new Set([...boxes()].map((box) => box.dataset.pick));
  for (const id of picked) if (!shown.has(id)) picked.delete(id);
  for (const box of boxes()) box.checked = picked.has(box.dataset.pick);
  const message = bar.querySelector("#bulk-message");
  bar.hidden = picked.size === 0 && message.textContent === "";
  bar.querySelector("#bulk-count").textContent = `${picked.size} selected`;
}

async function act(bar, verb, form) {
  const ids = [...picked];
  if (!ids.length) return;
  const jobs = ids.length === 1 ? "1 job" : `${ids.length} jobs`;
  const goes = "Their rows in the library go, with all their files and the uploaded videos. Those that run are stopped first. This cannot be taken back. The log keeps that they were there.";
  if (verb === "delete" && !(await ask(`Delete ${jobs}?`, goes, "Delete"))) return;
  const tags = form?.elements.tag.value.split(",");
  tell(bar, "");
  const buttons = bar.querySelectorAll("button");
  for (const button of buttons) button.disabled = true;
  const refusals = [];
  const waiting = [...ids];
  const work = async () => {
    while (waiting.length) {
      const id = waiting.shift();
      try {
        await one(id, verb, tags);
      } catch (refusal) {
        refusals.push(`${title(id)}: ${refusal.message}`);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  for (const button of buttons) button.disabled = false;
  form?.reset();
  const more = refusals.length > TOLD ? ` And ${refusals.length - TOLD} more.` : "";
  tell(bar, refusals.length ? `${ids.length - refusals.length} of ${jobs} done. ${refusals.slice(0, TOLD).join(" ")}${more}` : "");
}

async function one(id, verb, tags) {
  const path = `/api/jobs/${encodeURIComponent(id)}`;
  if (verb === "delete") return call(path, "DELETE");
  if (verb !== "tag") return call(`${path}/${verb}`, "POST");
  const job = await call(path, "GET"); // tags are given all at once
  return call(`${path}/tags`, "PUT", { tags: [...job.tags, ...tags] });
}

function title(id) {
  return document.querySelector(`#job-${CSS.escape(id)} .job-title`)?.textContent ?? id;
}

function tell(bar, text) {
  const message = bar.querySelector("#bulk-message");
  message.textContent = text;
  message.classList.toggle("bad", text !== "");
}
