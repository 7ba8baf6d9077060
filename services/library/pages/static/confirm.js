// Asks before something goes that cannot be taken back.

/** Show the page's dialog; return whether the person agreed. Escape and the first button mean no. */
export function ask(question, goes, yes) {
  const dialog = document.getElementById("confirm");
  document.getElementById("confirm-title").textContent = question;
  document.getElementById("confirm-text").textContent = goes ?? "";
  document.getElementById("confirm-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }),
  );
}
