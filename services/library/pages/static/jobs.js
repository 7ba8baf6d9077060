// The library page: a live list under its filter, what is done with several jobs, and the upload form.
import { prepareBulk } from "./bulk.js";
import { prepareFind } from "./find.js";
import { follow, localise, refresh, showProgress } from "./live.js";
import { prepareForm } from "./submit.js";
import { explain } from "./why.js";

localise(document);
const form = document.getElementById("submit");
if (form) prepareForm(form);
const explained = explain();
const changed = async () => {
  await refresh();
  explained();
};
prepareFind(document.getElementById("find"), changed);
const bulk = document.getElementById("bulk");
if (bulk) prepareBulk(bulk);
follow("/api/events", document.getElementById("main").dataset.position.trim(), changed, showProgress);
