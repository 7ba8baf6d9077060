// The page of one job: live stages, what may be done with it, and the video as soon as there is one.
import { prepareControls } from "./control.js";
import { announce, follow, localise, refresh, showProgress } from "./live.js";
import { explain } from "./why.js";

const id = document.querySelector("[data-job]").dataset.job;
localise(document);
prepareControls();
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
