// Parts of a page that are read only when they are opened: opening one puts its parameter into the address, which then
// is fetched again, so that the part stays open and live, also after a reload.

/** Take over every `<details data-parameter>`; `changed` fetches the page of the new address. */
export function prepareParameters(changed) {
  document.addEventListener(
    "toggle",
    (event) => {
      const name = event.target.dataset?.parameter;
      if (!name || !event.target.isConnected) return;
      const address = new URL(location.href);
      if (event.target.open === address.searchParams.has(name)) return;
      if (event.target.open) address.searchParams.set(name, "true");
      else address.searchParams.delete(name);
      history.replaceState(null, "", address);
      if (event.target.open) changed();
    },
    true,
  );
}
