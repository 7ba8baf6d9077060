// A secret that is shown once: a key, a link, recovery codes.
import { prepareCopy } from "./forms.js";

const dialog = document.getElementById("once");
const text = document.getElementById("once-text");

prepareCopy(document.getElementById("once-copy"), () => text.textContent, () => getSelection().selectAllChildren(text));
document.getElementById("once-print").addEventListener("click", () => print());
dialog.addEventListener("close", () => (text.textContent = ""));

/** Show it; what is behind the dialog does not keep it. */
export function showOnce(title, lead, secret) {
  document.getElementById("once-title").textContent = title;
  document.getElementById("once-lead").textContent = lead;
  text.textContent = secret;
  dialog.showModal();
}
