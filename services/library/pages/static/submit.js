// The form for a new dub: which languages there are, the videos, sending them, and the refusals' own words.
// Each video becomes a job of its own. Does not live here: tus (`sending.js`), the rows (`sources.js`).
import { call } from "./api.js";
import { prepareEstimate } from "./estimate.js";
import { prepareFolder } from "./folder.js";
import { offerLanguages } from "./languages.js";
import { Sending, forget, unfinished } from "./sending.js";
import { Source } from "./sources.js";

const IMPORTS = { src_srt: "src_srt_text", tgt_srt: "tgt_srt_text", transcript_json: "transcript_json_text" };
const IMPORT_MAX_BYTES = 2 << 20;
const ANEW = ["upload_used", "upload_gone", "upload_not_found"];

let sources = [];
let busy = false;

/** Prepare the form. */
export function prepareForm(form) {
  const list = form.querySelector("#sources");
  const estimate = prepareEstimate(form, () => sources.filter((source) => source.state !== "accepted"), () => fields(form));
  const changed = () => {
    form.querySelector("#drop").classList.toggle("chosen", sources.length > 0);
    estimate();
  };
  const removed = (source) => {
    sources = sources.filter((each) => each !== source);
    changed();
  };
  const add = (chosen) => {
    sources = sources.filter((source) => source.state !== "accepted" || source.row.remove());
    if (!sources.some((source) => same(source, chosen))) sources.push(new Source(list, chosen, removed));
    changed();
  };
  prepareFile(form, (file) => add({ file, name: file.name, bytes: file.size }));
  prepareFolder(form.querySelector("#folder"), (item) => add({ path: item.path, name: item.name, bytes: item.size_bytes }));
  prefill(form).then(() => {
    if (form.querySelector("select[name=tgt_lang]")) form.querySelector("#tgt-hint")?.remove();
    estimate();
  });
  preparePresets(form);
  showUnfinished(form.querySelector("#unfinished"));
  form.addEventListener("change", estimate);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!busy) submit(form);
  });
  addEventListener("beforeunload", (event) => {
    if (busy && sources.some((source) => source.state === "sending")) event.preventDefault();
  });
}

function same(source, { file, path }) {
  if (path) return source.path === path;
  return source.file?.name === file.name && source.file.size === file.size && source.file.lastModified === file.lastModified;
}

function prepareFile(form, add) {
  const drop = form.querySelector("#drop");
  const input = form.elements.file;
  input.addEventListener("change", () => {
    for (const file of [...input.files]) add(file);
    input.value = ""; // so that the same one can be chosen again
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

/** One's own settings fill what nobody has chosen and no preset has filled yet. */
async function prefill(form) {
  const chosen = new Set();
  form.addEventListener("input", (event) => chosen.add(event.target.name));
  const [told] = await Promise.all([call("/api/settings").catch(() => null), offerLanguages(form)]);
  if (form.elements.preset_id.value) return;
  for (const name of ["mode", "src_lang", "tgt_lang"]) {
    const value = told?.defaults[name];
    if (!value || chosen.has(name)) continue;
    choose(form.elements[name], value);
    form.elements[name].dispatchEvent(new Event("change"));
  }
}

function choose(field, value) {
  if (field.tagName !== "SELECT" || [...field.options].some((option) => option.value === value)) field.value = value;
}

function fields(form) {
  const { src_lang, tgt_lang, mode, project_id, preset_id, tags, cache_policy, privacy } = form.elements;
  return {
    src_lang: src_lang.value,
    tgt_lang: tgt_lang.value,
    mode: mode.value,
    project_id: project_id.value || null,
    preset_id: preset_id.value || null,
    tags: tags.value.split(",").filter((tag) => tag.trim() !== ""),
    cache_policy: cache_policy.value || null,
    privacy: privacy.checked || null,
  };
}

async function submit(form) {
  const waiting = sources.filter((source) => source.state !== "accepted");
  const button = form.querySelector("button[type=submit]");
  busy = button.disabled = true;
  tell(form, "");
  try {
    if (!waiting.length) throw new Error("Choose a video first.");
    const asked = { ...fields(form), ...(await imports(form, waiting)) };
    localStorage.setItem("tgt_lang", asked.tgt_lang);
    for (const source of waiting) await one(source, asked);
    const [only] = waiting;
    if (waiting.length === 1 && only.jobId) return location.assign(await listed(only.jobId));
    const accepted = waiting.filter((source) => source.jobId).length;
    tell(form, waiting.length === 1 ? "" : `${accepted} of ${waiting.length} videos accepted.`, accepted < waiting.length);
  } catch (refusal) {
    tell(form, refusal.message, true);
  } finally {
    busy = button.disabled = false;
  }
}

/** Send one video, and submit it; what goes wrong stands in its row. */
async function one(source, asked) {
  try {
    source.accept((await job(source, asked)).id);
    await source.sending?.done();
  } catch (refusal) {
    source.show("failed", refusal.message, true);
  }
}

async function job(source, asked, tries = 0) {
  const from = source.path ? { video_path: source.path } : { upload_id: await send(source) };
  source.show("checking", "Checking the video…");
  try {
    return await call("/api/jobs", "POST", { ...asked, ...from, idempotency_key: keyOf(source, asked, from) });
  } catch (refusal) {
    if (source.path || tries || !ANEW.includes(refusal.code)) throw refusal;
    await source.sending.done(); // another job was made of it: send it again
    source.sending = null;
    return job(source, asked, tries + 1);
  }
}

async function send(source) {
  source.sending ??= new Sending(source.file, (fraction) => source.progress(fraction));
  source.show("sending", "Beginning…");
  return source.sending.send();
}

/** The same submission of the same bytes has the same key, so that a second try makes no second job. */
function keyOf(source, asked, from) {
  const said = JSON.stringify({ ...asked, ...from });
  if (source.said !== said) Object.assign(source, { said, key: crypto.randomUUID?.() ?? String(Math.random()).slice(2) });
  return source.key;
}

/** Read the texts that were chosen. Throws an Error for the person. */
async function imports(form, waiting) {
  const texts = {};
  for (const [name, member] of Object.entries(IMPORTS)) {
    const [file] = form.elements[name].files;
    if (!file) continue;
    if (waiting.length > 1) throw new Error("Subtitles and transcripts belong to one video. Choose one video, or no texts.");
    if (file.size > IMPORT_MAX_BYTES) throw new Error(`${file.name} is larger than 2 MB.`);
    texts[member] = await file.text();
  }
  return texts;
}

/** Say which uploads of an earlier visit are not done: with the same file they go on where they stopped. */
async function showUnfinished(place) {
  const uploads = await unfinished();
  place.hidden = !uploads.length;
  const list = place.querySelector("ul");
  list.replaceChildren(
    ...uploads.map((upload) => {
      const row = document.createElement("li");
      const name = document.createElement("bdi");
      name.textContent = upload.metadata.filename;
      const off = Object.assign(document.createElement("button"), { type: "button", className: "link", textContent: "Forget it" });
      off.setAttribute("aria-label", `Forget ${upload.metadata.filename}`);
      off.addEventListener("click", async () => {
        await forget(upload);
        row.remove();
        place.hidden = !list.childElementCount;
      });
      row.append(name, " ", off);
      return row;
    }),
  );
}

function tell(form, text, bad = false) {
  const message = form.querySelector("#submit-message");
  message.textContent = text;
  message.classList.toggle("bad", bad);
}

/** Return the job's page as soon as the library shows it, which is a moment after it was accepted. */
async function listed(id) {
  for (let tries = 0; tries < 20; tries += 1) {
    const found = await call(`/api/jobs?limit=1&q=${encodeURIComponent(id)}`).catch(() => null);
    if (found?.total) return `/ui/jobs/${encodeURIComponent(id)}`;
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
  return "/ui/jobs";
}
