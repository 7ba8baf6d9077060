// The page of one job: live stages, what may be done with it, its history and log, and the video as soon as there is one.
import { prepareControls } from "./control.js";
import { announce, follow, localise, refresh, showProgress } from "./live.js";
import { prepareLog } from "./log.js";
import { prepareParameters } from "./parameters.js";
import { prepareTags } from "./tags.js";
import { explain } from "./why.js";

const id = document.querySelector("[data-job]").dataset.job;
localise(document);
prepareControls();
prepareTags();
prepareParameters(refresh);
prepareLog(document.querySelector("[data-log]"));
const changed = explain();
follow(
  `/api/jobs/${encodeURIComponent(id)}/events`,
  document.getElementById("main").dataset.position.trim(),
  async () => {
    await refresh();
    changed();
    announce(document.querySelector("#status .badge").textContent);
  },
  (progress) => {
    showProgress(progress);
    announce(progress.message);
  },
);
