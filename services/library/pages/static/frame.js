// What is around every page of somebody who is signed in: the menu with their name, and signing out.
import { call } from "./api.js";

const menu = document.getElementById("menu");

document.addEventListener("click", (event) => {
  if (!menu.contains(event.target)) menu.open = false;
});
menu.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !menu.open) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});
document.getElementById("sign-out")?.addEventListener("click", async (event) => {
  event.target.disabled = true;
  try {
    await call("/api/auth/logout", "POST", undefined, { anonymous: true });
  } catch (refusal) {
    if (refusal.status !== 401) {
      event.target.disabled = false;
      event.target.textContent = refusal.message;
      return;
    }
  }
  location.assign("/ui/login");
});
