// Webhooks and their deliveries. Attempts are no events of the log, so the page is asked again every few seconds.
import { prepareControls } from "./control.js";
import { localise, refresh } from "./live.js";

const AGAIN_MS = 2000;
const SOON_MS = 250;

localise(document);
prepareControls((form, answer) => {
  if (form.hasAttribute("data-secret")) showSecret(answer);
  setTimeout(refresh, SOON_MS);
});
setInterval(() => document.visibilityState === "visible" && refresh(), AGAIN_MS);

const text = document.getElementById("secret-text");
const copy = document.getElementById("secret-copy");
copy.addEventListener("click", async () => {
  text.select();
  try {
    await navigator.clipboard.writeText(text.value);
    copy.textContent = "Copied";
  } catch {
    copy.textContent = "Press Ctrl-C"; // no clipboard without HTTPS; the text is selected
  }
});

function showSecret(answer) {
  text.value = answer.secret;
  copy.textContent = "Copy";
  document.getElementById("secret-warning").textContent = answer.warnings.join(" ");
  document.getElementById("secret").showModal();
}

document.getElementById("secret").addEventListener("close", () => (text.value = ""));
