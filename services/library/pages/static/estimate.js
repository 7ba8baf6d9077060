// What a dub would take before it is begun, and what is left of one's limits today, as the scheduler tells it.
import { call } from "./api.js";

const SETTLE_MS = 300;
const METADATA_MS = 4000;

/** Return the function to call when the videos or the fields have changed. */
export function prepareEstimate(form, chosen, fields) {
  const place = form.querySelector("#estimate");
  const lengths = new WeakMap();
  let timer = 0;
  let asked = 0;
  const show = async () => {
    const number = ++asked;
    const texts = await Promise.all(chosen().map((source) => one(source, fields(), lengths)));
    if (number !== asked) return;
    const known = texts.filter(Boolean);
    place.textContent = texts.length > 1 && known.length ? `The first of them: ${known[0]}` : known.join("");
  };
  showLeft(form.querySelector("#left"));
  return () => {
    clearTimeout(timer);
    timer = setTimeout(show, SETTLE_MS);
  };
}

async function one(source, asked, lengths) {
  if (!/^[a-z]{2,3}$/.test(asked.tgt_lang)) return "";
  const from = source.path ? { video_path: source.path } : await supposed(source, lengths);
  if (!from) return "";
  try {
    return words(await call("/api/jobs/estimate", "POST", { ...asked, ...from }));
  } catch (refusal) {
    return refusal.status === 422 || refusal.status === 429 ? refusal.message : "";
  }
}

/** Return how long a file of this device is, as far as this browser can read it. */
async function supposed(source, lengths) {
  if (!lengths.has(source)) lengths.set(source, await length(source.file));
  const seconds = lengths.get(source);
  return seconds && { duration_s: seconds, size_bytes: source.bytes };
}

async function length(file) {
  const video = document.createElement("video");
  const address = URL.createObjectURL(file);
  try {
    return await new Promise((resolve) => {
      setTimeout(() => resolve(0), METADATA_MS);
      video.addEventListener("loadedmetadata", () => resolve(Number.isFinite(video.duration) ? video.duration : 0));
      video.addEventListener("error", () => resolve(0));
      Object.assign(video, { preload: "metadata", src: address });
    });
  } finally {
    video.removeAttribute("src");
    video.load();
    URL.revokeObjectURL(address);
  }
}

function words(estimate) {
  const { waiting, work, disk, ahead } = estimate;
  const parts = [`Takes about ${took(work.expected)} (${took(work.low)} to ${took(work.high)})`];
  if (waiting && waiting.expected >= 1) parts.push(`after waiting about ${took(waiting.expected)}`);
  else if (ahead) parts.push(`${ahead} ${ahead === 1 ? "job is" : "jobs are"} before it`);
  if (!waiting) parts.push("nothing starts at the moment");
  if (!disk.enough) parts.push("the disk has too little room for it now");
  return `${parts.join(", ")}.`;
}

function took(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
}

async function showLeft(place) {
  const left = await call("/api/settings/left").catch(() => null);
  if (!left) return;
  const parts = [
    left.jobs_today !== null && `${left.jobs_today} jobs`,
    left.minutes_today !== null && `${Math.floor(left.minutes_today)} minutes of video`,
    left.queued !== null && `${left.queued} places in the queue`,
  ].filter(Boolean);
  if (parts.length) place.textContent = `Left for you today: ${parts.join(", ")}.`;
}
