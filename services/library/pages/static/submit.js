// The upload form: which languages there are, progress while sending, and the refusal's own words.

import { offerLanguages } from "./languages.js";

/** Prepare the form; without this script it still posts. */
export function prepareForm(form) {
  prepareFile(form);
  offerLanguages(form).then(() => form.querySelector("select[name=tgt_lang]") && form.querySelector("#tgt-hint")?.remove());
  preparePresets(form);
  let key = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
  form.addEventListener("change", () => (key = crypto.randomUUID?.() ?? String(Math.random()).slice(2)));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form, key);
  });
}

function prepareFile(form) {
  const drop = form.querySelector("#drop");
  const input = form.elements.file;
  const name = form.querySelector("#file-name");
  const prompt = name.textContent;
  input.addEventListener("change", () => {
    name.textContent = input.files[0]?.name ?? prompt;
    drop.classList.toggle("chosen", input.files.length > 0);
  });
  for (const type of ["dragenter", "dragover"]) drop.addEventListener(type, () => drop.classList.add("over"));
  for (const type of ["dragleave", "drop"]) drop.addEventListener(type, () => drop.classList.remove("over"));
}

/** A preset fills the fields that it knows, and a project chooses its preset; both can be changed after. */
function preparePresets(form) {
  const { project_id: project, preset_id: preset } = form.elements;
  const fill = () => {
    const { mode, src, tgt } = preset.selectedOptions[0].dataset;
    if (!mode) return;
    form.elements.mode.value = mode;
    choose(form.elements.src_lang, src);
    form.elements.src_lang.dispatchEvent(new Event("change"));
    choose(form.elements.tgt_lang, tgt);
  };
  preset.addEventListener("change", fill);
  project.addEventListener("change", () => {
    choose(preset, project.selectedOptions[0].dataset.preset);
    fill();
  });
}

function choose(field, value) {
  if (field.tagName !== "SELECT" || [...field.options].some((option) => option.value === value)) field.value = value;
}

function send(form, key) {
  const button = form.querySelector("button");
  const bar = form.querySelector("#upload-bar");
  const tell = (text, bad = false) => {
    const message = form.querySelector("#submit-message");
    message.textContent = text;
    message.classList.toggle("bad", bad);
  };
  const free = () => {
    button.disabled = false;
    bar.hidden = true;
  };
  localStorage.setItem("tgt_lang", form.elements.tgt_lang.value);
  button.disabled = true;
  bar.hidden = false;
  tell("Uploading…");
  const request = new XMLHttpRequest();
  request.open("POST", form.action);
  request.setRequestHeader("Idempotency-Key", key); // a second try of the same form makes no second job
  request.responseType = "json";
  request.upload.onprogress = (event) => {
    if (event.lengthComputable) bar.value = event.loaded / event.total;
  };
  request.upload.onload = () => tell("Checking the video…");
  request.onerror = () => {
    free();
    tell("The connection was lost. Try again.", true);
  };
  request.onload = async () => {
    const id = request.response?.id;
    if (request.status >= 300 || !id) {
      free();
      return tell(request.response?.detail ?? `The server answered ${request.status}. Try again.`, true);
    }
    tell("Accepted.");
    location.assign(await listed(id));
  };
  request.send(new FormData(form));
}

/** Return the job's page as soon as the library shows it, which is a moment after it was accepted. */
async function listed(id) {
  const path = `/ui/jobs/${encodeURIComponent(id)}`;
  for (let tries = 0; tries < 20; tries += 1) {
    if ((await fetch(path, { method: "GET" })).ok) return path;
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
  return "/ui/jobs";
}
