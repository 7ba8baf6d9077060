// A one-time token becomes a way in: the first admin, an invite, another password.
import { call } from "./api.js";
import { message } from "./forms.js";

const form = document.getElementById("token-form");
const { kind } = form.dataset;
const { token } = form.elements;

takeToken();
addEventListener("hashchange", takeToken); // the link was opened where this page already was
if (kind === "setup") closeIfDone();

const WAYS = {
  async setup({ password, username }) {
    await anonymous("/api/setup", { token: token.value.trim(), username, password });
    location.assign("/ui/jobs");
  },
  async invite({ password, username }) {
    await anonymous("/api/invites/redeem", { token: token.value.trim(), username, password });
    await anonymous("/api/auth/login", { username, password, session: true });
    location.assign("/ui/jobs");
  },
  async reset({ password }) {
    await anonymous("/api/auth/reset", { token: token.value.trim(), new_password: password });
    location.assign("/ui/login?reset=1");
  },
};

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { password, again, username } = form.elements;
  if (password.value !== again.value) {
    message(form, "The two passwords are not the same.");
    return again.focus();
  }
  const button = form.querySelector("button");
  button.disabled = true;
  message(form, "");
  try {
    await WAYS[kind]({ password: password.value, username: username?.value.trim() });
  } catch (refusal) {
    button.disabled = false;
    message(form, refusal.message);
    if (/token|invite|reset/.test(refusal.code)) document.getElementById("token-part").hidden = false;
  }
});

function takeToken() {
  if (location.hash.length < 2) return;
  token.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname); // it stays in no history
  document.getElementById("token-part").hidden = true;
  form.querySelector("input:not([name=token])").focus();
}

function anonymous(path, body) {
  return call(path, "POST", body, { anonymous: true });
}

async function closeIfDone() {
  const state = await call("/api/auth/state", "GET", undefined, { anonymous: true }).catch(() => null);
  if (state === null || state.setup_needed) return;
  form.hidden = true;
  document.getElementById("closed").hidden = false;
}
