// Tags of the job on this page, changed in place. The API takes all tags at once.

import { call } from "./api.js";
import { tell } from "./control.js";

/** Take over the buttons that remove a tag and the form that adds some. */
export function prepareTags() {
  document.addEventListener("click", (event) => {
    const off = event.target.closest?.("[data-untag]");
    if (off) save(off, (tags) => tags.filter((tag) => tag !== off.dataset.untag));
  });
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-tag]")) return;
    event.preventDefault();
    const field = event.target.elements.tag;
    const added = field.value.split(",").filter((tag) => tag.trim() !== "");
    save(event.target, (tags) => [...tags, ...added]).then((saved) => {
      if (saved) field.value = field.defaultValue;
    });
  });
}

async function save(from, change) {
  const list = document.querySelector("[data-tags]");
  tell(from, "");
  try {
    const path = document.querySelector("form[data-tag]").getAttribute("action");
    const answer = await call(path, "PUT", { tags: change(JSON.parse(list.dataset.tags)) });
    list.dataset.tags = JSON.stringify(answer.tags); // for the next change, which may come before the page is fresh
    document.getElementById("new-tag").focus();
    return true;
  } catch (refusal) {
    tell(from, refusal.message);
    return false;
  }
}
