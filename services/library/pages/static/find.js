// The filter of the list: the address follows what is typed and chosen, and the list follows the address.
// Without this script the form goes to the same address by its button.

const TYPING_MS = 200;

/** Prepare the form; `changed` fetches the page of the new address. */
export function prepareFind(form, changed) {
  let timer = 0;
  const apply = () => {
    const asked = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
    const address = asked.size ? `${form.action}?${asked}` : form.action;
    if (address === location.href) return;
    history.replaceState(null, "", address);
    changed();
  };
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(apply, TYPING_MS);
  };
  form.addEventListener("input", soon);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    apply();
  });
  document.addEventListener("click", (event) => {
    const chip = event.target.closest?.("[data-filter]");
    if (!chip || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    form.elements.state.value = chip.dataset.filter;
    apply();
  });
}
