// The page of one job: live stages, and the video as soon as there is one.
import { announce, follow, localise, refresh, showProgress } from "./live.js";

const id = document.querySelector("[data-job]").dataset.job;
localise(document);
follow(
  `/api/jobs/${encodeURIComponent(id)}/events`,
  document.getElementById("main").dataset.position.trim(),
  async () => {
    await refresh();
    announce(document.querySelector("#status .badge").textContent);
  },
  (progress) => {
    showProgress(progress);
    announce(progress.message);
  },
);
