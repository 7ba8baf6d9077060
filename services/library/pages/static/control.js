// The buttons of a job: sent without leaving the page, and a refusal shown in its own words.
// Lives here: that. Without this script the forms still post. What changed comes over the event stream.

/** Take over every form marked `data-control`, also those that a refresh brings. */
export function prepareControls() {
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-control]")) return;
    event.preventDefault();
    send(event.target);
  });
}

async function send(form) {
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const answer = await fetch(form.action, { method: "POST" });
    tell(answer.ok ? "" : ((await answer.json()).detail ?? `The server answered ${answer.status}. Try again.`));
  } catch {
    tell("The server does not answer. Try again.");
  } finally {
    button.disabled = false;
  }
}

function tell(text) {
  const message = document.getElementById("control-message");
  message.textContent = text;
  message.classList.toggle("bad", text !== "");
}
