// Signing in: name and password, then a code where the account asks for one.
import { call, Refusal } from "./api.js";
import { message } from "./forms.js";

const form = document.getElementById("login");
const code = document.getElementById("code-part");
const next = form.dataset.next;
const afterProvider = form.hasAttribute("data-code-only");

if (!afterProvider) offerWays();
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  message(form, "");
  try {
    if (afterProvider) await call("/api/auth/oidc/second_factor", "POST", factor(), { anonymous: true });
    else await call("/api/auth/login", "POST", shown(), { anonymous: true });
    location.assign(next);
  } catch (refusal) {
    button.disabled = false;
    if (refusal.code === "totp_required") askForCode();
    else told(refusal);
  }
});

function shown() {
  const { username, password } = form.elements;
  return { username: username.value.trim(), password: password.value, session: true, ...(code.hidden ? {} : factor()) };
}

/** Six digits are a code of an app, anything else is a recovery code. */
function factor() {
  const typed = form.elements.code.value.trim();
  const digits = typed.replaceAll(" ", "");
  return /^\d{6}$/.test(digits) ? { totp: digits } : { recovery_code: typed };
}

function askForCode() {
  code.hidden = false;
  document.getElementById("password-part").hidden = true;
  document.getElementById("other-ways").hidden = true;
  form.elements.code.required = true;
  form.elements.code.focus();
}

function told(refusal) {
  if (!(refusal instanceof Refusal)) throw refusal;
  message(form, refusal.message);
  const field = code.hidden ? form.elements.password : form.elements.code;
  field.focus();
  field.select();
}

async function offerWays() {
  const state = await call("/api/auth/state", "GET", undefined, { anonymous: true }).catch(() => null);
  document.getElementById("oidc").hidden = !state?.oidc;
  document.getElementById("setup-needed").hidden = !state?.setup_needed;
}
