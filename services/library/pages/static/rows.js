// Lists that scripts fill from the API: a row is a copy of the page's template, and its parts are named by attributes.

/** Return a new row of a template, and what is named in it: `part("name")` is the element with `data-name`. */
export function newRow(template) {
  const row = document.getElementById(template).content.firstElementChild.cloneNode(true);
  return { row, part: (name) => row.querySelector(`[data-${name}]`) };
}

/** Put rows into a list, or a line that says there are none. */
export function fill(list, rows, none) {
  if (rows.length) return list.replaceChildren(...rows);
  const empty = document.createElement("li");
  empty.className = "card empty";
  empty.textContent = none;
  list.replaceChildren(empty);
}

/** Run what a button asks for; a refusal is told in `place`. */
export async function attempt(button, place, work) {
  button.disabled = true;
  say(place, "");
  try {
    await work();
  } catch (refusal) {
    say(place, refusal.message, true);
  } finally {
    button.disabled = false;
  }
}

/** Say something in a place for messages. */
export function say(place, text, bad = false) {
  place.textContent = text;
  place.classList.toggle("bad", bad);
}
