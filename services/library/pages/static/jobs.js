// The library page: a live list and the upload form.
import { follow, localise, refresh, showProgress } from "./live.js";
import { prepareForm } from "./submit.js";

localise(document);
prepareForm(document.getElementById("submit"));
follow("/api/events", document.getElementById("main").dataset.position.trim(), refresh, showProgress);
