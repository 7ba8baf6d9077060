// The second factor of one's own account: set up, turned off, its recovery codes.
import { call } from "./api.js";
import { ask } from "./confirm.js";
import { picture } from "./forms.js";
import { showOnce } from "./once.js";
import { attempt, say } from "./rows.js";

const CODES_LEAD = "Each lets you in once when you do not have your app. Keep them now: they are not shown again.";
const part = (id) => document.getElementById(`factor-${id}`);
const place = document.querySelector("#factor > .message");

/** Show how it stands and take over its buttons; `changed` runs after sign-ins elsewhere were ended. */
export async function prepareFactor(changed) {
  let codes = [];
  part("begin").addEventListener("click", () =>
    attempt(part("begin"), place, async () => {
      const begun = await call("/api/auth/totp/setup", "POST");
      codes = begun.recovery_codes;
      picture(part("qr"), begun.qr_svg, "The secret as a QR code");
      part("secret").textContent = begun.secret;
      part("setup").hidden = false;
      part("setup").elements.code.focus();
      await show();
    }),
  );
  part("cancel").addEventListener("click", () => forget());
  part("setup").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(part("setup").querySelector("button"), place, async () => {
      await call("/api/auth/totp/verify", "POST", { code: part("setup").elements.code.value.replaceAll(" ", "") });
      showOnce("Your recovery codes", CODES_LEAD, codes.join("\n"));
      codes = [];
      forget();
      await Promise.all([show(), changed()]);
    });
  });
  part("codes").addEventListener("click", async () => {
    if (!(await ask("Make new recovery codes?", "Those that you have now are worth nothing from then on.", "Make them"))) return;
    attempt(part("codes"), place, async () => {
      const made = await call("/api/auth/totp/recovery_codes", "POST");
      showOnce("Your recovery codes", CODES_LEAD, made.recovery_codes.join("\n"));
      await show();
    });
  });
  const off = document.getElementById("factor-off-form");
  part("off").addEventListener("click", () => {
    off.hidden = false;
    off.elements.code.focus();
  });
  document.getElementById("factor-off-cancel").addEventListener("click", () => (off.hidden = true));
  off.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(off.querySelector("button"), place, async () => {
      const typed = off.elements.code.value.trim();
      const digits = typed.replaceAll(" ", "");
      await call("/api/auth/totp/disable", "POST", /^\d{6}$/.test(digits) ? { code: digits } : { recovery_code: typed });
      off.reset();
      off.hidden = true;
      await Promise.all([show(), changed()]);
    });
  });
  await show().catch((refusal) => say(place, refusal.message, true));
}

function forget() {
  part("setup").hidden = true;
  part("setup").reset();
  part("qr").replaceChildren();
  part("secret").textContent = "";
}

async function show() {
  const state = await call("/api/auth/totp");
  const left = state.recovery_codes_left;
  part("state").textContent = state.enabled
    ? `On: signing in asks for a code of your app. ${left} recovery ${left === 1 ? "code is" : "codes are"} left.`
    : "Off: your password alone lets you in.";
  part("begin").textContent = state.enabled ? "Set up another app" : "Set up an app";
  part("begin").hidden = false;
  part("codes").hidden = part("off").hidden = !state.enabled;
}
