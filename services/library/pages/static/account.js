// One's own account: password, sign-ins and API keys. The second factor is in `factor.js`.
import { call, setToken } from "./api.js";
import { ask } from "./confirm.js";
import { prepareFactor } from "./factor.js";
import { device, message, moment } from "./forms.js";
import { showOnce } from "./once.js";
import { attempt, fill, newRow } from "./rows.js";

const devices = document.getElementById("devices");
const keys = document.getElementById("keys");

showAll();

async function showAll() {
  prepareFactor(showDevices);
  const me = await call("/api/auth/me");
  document.getElementById("no-password").hidden = me.has_password;
  document.getElementById("password-form").hidden = !me.has_password;
  await Promise.all([showDevices(), showKeys(me.id)]);
  preparePassword();
  prepareNewKey(me.id);
}

function preparePassword() {
  const form = document.getElementById("password-form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const { old, fresh, again } = form.elements;
    if (fresh.value !== again.value) return message(form, "The two new passwords are not the same.");
    attempt(form.querySelector("button"), form.querySelector(".message"), async () => {
      const changed = await call("/api/auth/password", "POST", { old_password: old.value, new_password: fresh.value });
      setToken(changed.csrf_token);
      form.reset();
      message(form, "Your password is changed.", false);
      await showDevices();
    });
  });
}

async function showDevices() {
  const { items } = await call("/api/auth/sessions");
  const place = devices.querySelector(".message");
  const rows = items.map((item) => {
    const { row, part } = newRow("device-row");
    part("name").textContent = item.device_name || device(item.user_agent);
    part("current").hidden = !item.current;
    part("used").textContent = `last used ${moment(item.last_used_at)}`;
    part("address").textContent = `signed in from ${item.last_ip}`;
    part("since").textContent = `since ${moment(item.created_at)}`;
    const button = part("revoke");
    button.hidden = item.current;
    button.setAttribute("aria-label", `Sign out ${part("name").textContent}, last used ${moment(item.last_used_at)}`);
    button.addEventListener("click", () =>
      attempt(button, place, async () => {
        await call(`/api/auth/sessions/${encodeURIComponent(item.device_id)}/revoke`, "POST");
        await showDevices();
      }),
    );
    return row;
  });
  fill(document.getElementById("device-list"), rows, "Nowhere.");
  document.getElementById("revoke-all").hidden = items.length < 2;
}

const everywhere = document.getElementById("revoke-all");
everywhere.addEventListener("click", async () => {
  if (!(await ask("Sign out everywhere else?", "Every other browser and program of yours is signed out at once. API keys stay.", "Sign out"))) return;
  attempt(everywhere, devices.querySelector(".message"), async () => {
    await call("/api/auth/sessions/revoke_all", "POST");
    await showDevices();
  });
});

async function showKeys(me) {
  const { items } = await call(`/api/keys?user_id=${encodeURIComponent(me)}`);
  const place = keys.querySelector(".message");
  const rows = items.map((key) => {
    const { row, part } = newRow("key-row");
    const state = key.revoked_at ? "Revoked" : new Date(key.expires_at) < new Date() ? "Expired" : "";
    part("name").textContent = key.name || "Without a name";
    part("state").textContent = state;
    part("state").hidden = !state;
    part("prefix").textContent = `${key.prefix}…`;
    part("scopes").textContent = key.scopes.join(", ");
    part("expires").textContent = `good until ${moment(key.expires_at)}`;
    part("used").textContent = key.last_used_at ? `last used ${moment(key.last_used_at)}` : "never used";
    const button = part("revoke");
    button.hidden = state !== "";
    button.setAttribute("aria-label", `Revoke ${part("name").textContent}`);
    button.addEventListener("click", async () => {
      if (!(await ask(`Revoke “${part("name").textContent}”?`, "Programs that use it are refused from now on.", "Revoke"))) return;
      attempt(button, place, async () => {
        await call(`/api/keys/${encodeURIComponent(key.id)}`, "DELETE");
        await showKeys(me);
      });
    });
    return row;
  });
  fill(document.getElementById("key-list"), rows, "No API key yet.");
}

function prepareNewKey(me) {
  const form = document.getElementById("new-key");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(form.querySelector("button"), form.querySelector(".message"), async () => {
      const scopes = [...form.querySelectorAll("[name=scopes]:checked")].map((box) => box.value);
      if (!scopes.length) throw new Error("Say what the key may do.");
      const made = await call("/api/keys", "POST", {
        name: form.elements.name.value,
        scopes,
        expires_in_days: Number(form.elements.days.value),
      });
      form.reset();
      showOnce("Your new API key", "Keep it now: it is not shown again.", made.key);
      await showKeys(me);
    });
  });
}
