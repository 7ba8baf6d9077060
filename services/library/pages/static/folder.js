// The server's own input folder, as another place to take videos from.
import { call } from "./api.js";
import { say } from "./rows.js";
import { size } from "./sources.js";

/** Fill the part when it is opened; `chosen(item)` is called for each video that is picked. */
export function prepareFolder(details, chosen) {
  const list = details.querySelector("ul");
  const place = details.querySelector(".message");
  const show = async (dir) => {
    say(place, "");
    try {
      const found = await call(`/api/files?dir=${encodeURIComponent(dir)}`);
      const up = dir ? [entry("Back", "", () => show(dir.split("/").slice(0, -1).join("/")))] : [];
      const items = found.items.map((item) =>
        item.type === "dir" ? entry(`${item.name}/`, "", () => show(item.path)) : entry(item.name, size(item.size_bytes), () => chosen(item)),
      );
      list.replaceChildren(...up, ...items);
      if (!items.length) say(place, "No video lies here.");
      else if (found.truncated) say(place, "There are more than are shown here.");
    } catch (refusal) {
      say(place, refusal.message, true);
    }
  };
  details.addEventListener("toggle", () => details.open && show(""));
}

function entry(name, told, act) {
  const row = document.createElement("li");
  const button = Object.assign(document.createElement("button"), { type: "button", className: "link", textContent: name });
  button.addEventListener("click", act);
  const hint = Object.assign(document.createElement("span"), { className: "hint", textContent: told });
  row.append(button, " ", hint);
  return row;
}
