// The library page: a live list and the upload form.
import { follow, localise, refresh, showProgress } from "./live.js";
import { prepareForm } from "./submit.js";
import { explain } from "./why.js";

localise(document);
prepareForm(document.getElementById("submit"));
const changed = explain();
follow(
  "/api/events",
  document.getElementById("main").dataset.position.trim(),
  async () => {
    await refresh();
    changed();
  },
  showProgress,
);
