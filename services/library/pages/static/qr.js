// The new device: it shows its code and asks until somebody has let it in (RFC 8628).
import { call } from "./api.js";
import { message, picture } from "./forms.js";

const SLOWER_S = 5;
const place = document.getElementById("new-device");
const again = document.getElementById("again");
let round = 0;

again.addEventListener("click", begin);
begin();

async function begin() {
  const mine = ++round;
  again.hidden = true;
  place.classList.remove("over");
  message(place, "");
  try {
    const begun = await call("/api/auth/qr/init", "POST", undefined, { anonymous: true });
    picture(document.getElementById("qr"), begun.qr_svg, "A QR code to scan with the device that is signed in");
    document.getElementById("user-code").textContent = begun.user_code;
    document.getElementById("number").textContent = begun.number;
    document.getElementById("approve-at").textContent = new URL("/ui/qr", begun.verification_uri).href.replace(/^https?:\/\//, "");
    await wait(begun, mine);
    if (mine === round) location.assign("/ui/jobs");
  } catch (refusal) {
    if (mine !== round) return;
    message(place, refusal.message);
    place.classList.add("over");
    again.hidden = false;
    again.focus();
  }
}

/** Return once this device is in. Throws the last refusal. */
async function wait({ device_code, interval }, mine) {
  let seconds = interval;
  while (mine === round) {
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    try {
      return await call("/api/auth/qr/redeem", "POST", { device_code }, { anonymous: true });
    } catch (refusal) {
      if (refusal.code === "slow_down") seconds = refusal.told.interval ?? seconds + SLOWER_S;
      else if (refusal.code !== "authorization_pending" && refusal.status !== 0) throw refusal;
    }
  }
}
