// Projects and presets: made, changed and deleted in place; the lists follow the event stream.
import { prepareControls } from "./control.js";
import { offerLanguages } from "./languages.js";
import { follow, localise, refresh } from "./live.js";

localise(document);
prepareControls();
const newPreset = document.querySelector("form[action='/api/presets']");
if (newPreset) offerLanguages(newPreset);
document.addEventListener(
  "toggle",
  ({ target }) => {
    const form = target.open && target.querySelector("form[data-languages]");
    if (form) offerLanguages(form);
  },
  true,
);
follow("/api/events", document.getElementById("main").dataset.position.trim(), refresh, () => {});
