// The dialog that asks once more who one is, before an account is changed.
import { call, setToken } from "./api.js";

const WAYS = {
  password: { label: "Your password", type: "password", autocomplete: "current-password", other: "Use a code instead" },
  totp: { label: "Code of your app", type: "text", autocomplete: "one-time-code", other: "Use the password instead" },
};

/** Ask for the password or a code, and return whether the person proved themself. */
export async function prove() {
  const me = await call("/api/auth/me");
  const ways = [me.has_password && "password", me.has_totp && "totp"].filter(Boolean);
  const dialog = document.getElementById("prove");
  const form = document.getElementById("prove-form");
  const field = document.getElementById("prove-field");
  const other = document.getElementById("prove-other");
  const message = form.querySelector(".message");
  const tell = (text) => {
    message.textContent = text;
    message.classList.toggle("bad", text !== "");
  };
  const show = (way) => {
    const { label, type, autocomplete, other: words } = WAYS[way];
    document.getElementById("prove-label").textContent = label;
    Object.assign(field, { type, autocomplete, value: "" });
    field.dataset.way = way;
    other.textContent = words;
    other.hidden = ways.length < 2;
    tell("");
    field.focus();
  };
  if (!ways.length) throw new Error("Sign out and in again: this account has neither a password nor a code to show.");
  let proved = false;
  const submit = async (event) => {
    event.preventDefault();
    try {
      const confirmed = await call("/api/auth/confirm", "POST", { [field.dataset.way]: field.value.trim() });
      setToken(confirmed.csrf_token); // the session goes on with another cookie, and the token that belongs to it
      proved = true;
      dialog.close();
    } catch (refusal) {
      tell(refusal.message);
      field.select();
    }
  };
  const swap = () => show(field.dataset.way === "password" ? "totp" : "password");
  const cancel = () => dialog.close();
  form.addEventListener("submit", submit);
  other.addEventListener("click", swap);
  document.getElementById("prove-no").addEventListener("click", cancel);
  dialog.showModal();
  show(ways[0]);
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  form.removeEventListener("submit", submit);
  other.removeEventListener("click", swap);
  document.getElementById("prove-no").removeEventListener("click", cancel);
  field.value = "";
  return proved;
}
