// The device that is signed in lets another one in: by the number that the other one shows, or not at all.
import { call } from "./api.js";
import { device, message } from "./forms.js";

const form = document.getElementById("approve");
const code = form?.dataset.code;
if (form) look();

async function look() {
  try {
    const asks = await call(`/api/auth/qr/waiting/${encodeURIComponent(code)}`);
    document.getElementById("device").textContent = device(asks.device);
    document.getElementById("address").textContent = asks.address;
    document.getElementById("age").textContent = asks.age_s < 60 ? `${asks.age_s} seconds ago` : `${Math.floor(asks.age_s / 60)} min ago`;
    document.getElementById("asks").hidden = false;
    form.elements.number.focus();
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      answer("approve", { user_code: asks.user_code, number: form.elements.number.value.trim() }, "The other device is signed in.");
    });
    document.getElementById("deny").addEventListener("click", () => {
      answer("deny", { user_code: asks.user_code }, "The other device was not let in.");
    });
  } catch (refusal) {
    message(form, refusal.message);
    document.getElementById("other-code").hidden = false;
  }
}

async function answer(verb, body, done) {
  const buttons = form.querySelectorAll("button");
  for (const button of buttons) button.disabled = true;
  message(form, "");
  try {
    await call(`/api/auth/qr/${verb}`, "POST", body);
    document.getElementById("asks").hidden = true;
    message(form, done, false);
  } catch (refusal) {
    message(form, refusal.message);
    if (refusal.code === "confirmation_required") for (const button of buttons) button.disabled = false;
    else document.getElementById("asks").hidden = true;
  }
}
