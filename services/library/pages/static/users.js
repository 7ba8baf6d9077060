// Users and invites, for administrators.
import { call } from "./api.js";
import { ask } from "./confirm.js";
import { moment } from "./forms.js";
import { showOnce } from "./once.js";
import { attempt, fill, newRow, say } from "./rows.js";

const users = document.getElementById("users");
const invites = document.getElementById("invites");
const STATES = { open: "state-running", used: "state-done", revoked: "state-failed", expired: "" };

showUsers().catch((refusal) => say(users.querySelector(".message"), refusal.message, true));
showInvites().catch((refusal) => say(invites.querySelector(".message"), refusal.message, true));

async function showUsers() {
  const { items } = await call("/api/users");
  fill(document.getElementById("user-list"), items.map(userRow), "No user yet.");
}

function userRow(user) {
  const { row, part } = newRow("user-row");
  const path = `/api/users/${encodeURIComponent(user.id)}`;
  const place = row.querySelector(".message");
  part("name").textContent = user.username;
  part("me").hidden = user.id !== users.dataset.me;
  part("disabled").hidden = !user.disabled;
  part("factor").textContent = user.has_totp ? "with a second factor" : "password only";
  part("since").textContent = `since ${moment(user.created_at)}`;
  part("settings").href = `/ui/admin/users/${encodeURIComponent(user.id)}/settings`;
  part("settings").setAttribute("aria-label", `Settings of ${user.username}`);
  const role = part("role");
  role.value = user.role;
  role.setAttribute("aria-label", `Role of ${user.username}`);
  role.addEventListener("change", () =>
    attempt(role, place, async () => {
      try {
        user = await call(path, "PUT", { role: role.value });
      } finally {
        role.value = user.role;
      }
    }),
  );
  const change = part("switch");
  change.textContent = user.disabled ? "Let in again" : "Disable…";
  change.classList.toggle("danger", !user.disabled);
  change.setAttribute("aria-label", `${user.disabled ? "Let in again" : "Disable"} ${user.username}`);
  change.addEventListener("click", async () => {
    const goes = "They are signed out everywhere at once, and their API keys are refused. Their jobs stay.";
    if (!user.disabled && !(await ask(`Disable ${user.username}?`, goes, "Disable"))) return;
    attempt(change, place, async () => {
      await call(path, "PUT", { disabled: !user.disabled });
      await showUsers();
    });
  });
  const reset = part("reset");
  reset.setAttribute("aria-label", `New password for ${user.username}`);
  reset.addEventListener("click", () =>
    attempt(reset, place, async () => {
      const made = await call(`${path}/password_reset`, "POST");
      const lead = `With this link ${user.username} chooses another password, once, until ${moment(made.expires_at)}. Give it to nobody else.`;
      showOnce("A new password", lead, new URL(made.url, location.origin).href);
    }),
  );
  return row;
}

async function showInvites() {
  const { items } = await call("/api/admin/invites");
  const place = invites.querySelector(".message");
  const rows = items.map((invite) => {
    const { row, part } = newRow("invite-row");
    part("role").textContent = invite.role;
    part("state").textContent = invite.state;
    if (STATES[invite.state]) part("state").classList.add(STATES[invite.state]);
    part("made").textContent = `made ${moment(invite.created_at)}`;
    part("expires").textContent = invite.used_at ? `used ${moment(invite.used_at)}` : `good until ${moment(invite.expires_at)}`;
    const button = part("revoke");
    button.hidden = invite.state !== "open";
    button.setAttribute("aria-label", `Withdraw the invite for ${invite.role} of ${moment(invite.created_at)}`);
    button.addEventListener("click", () =>
      attempt(button, place, async () => {
        await call(`/api/admin/invites/${encodeURIComponent(invite.id)}`, "DELETE");
        await showInvites();
      }),
    );
    return row;
  });
  fill(document.getElementById("invite-list"), rows, "No invite yet.");
}

const form = document.getElementById("new-invite");
form.addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(form.querySelector("button"), form.querySelector(".message"), async () => {
    const { role, hours } = form.elements;
    const made = await call("/api/admin/invites", "POST", { role: role.value, hours: Number(hours.value) });
    const lead = `Whoever has this link becomes ${made.role}, until ${moment(made.expires_at)}. It is not shown again.`;
    showOnce("The invite's link", lead, new URL(made.url, location.origin).href);
    await showInvites();
  });
});
