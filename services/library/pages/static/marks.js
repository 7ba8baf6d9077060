// Refusals beside the fields that they are about.
// Lives here: which field of a form a refusal names, and marking it. Does not live here: sending (`control.js`).

const FIELDS = {
  invalid_name: "name",
  project_exists: "name",
  invalid_output_subdir: "output_subdir",
  output_subdir_taken: "output_subdir",
  unknown_preset: "default_preset_id",
};
/* What refusals without a list of errors are about. */
const NEXT = /; (?=\S+ cannot be |there is no setting )/;
/* Between two complaints about a group of settings. */

/** Take the marks of an earlier try away. */
export function unmark(form) {
  for (const mark of form.querySelectorAll("[data-mark]")) mark.remove();
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

/** Mark the fields that a refusal is about, go to the first, and return what is left to say about the form. */
export function mark(form, refusal) {
  const left = [];
  for (const [path, sentence] of told(refusal)) {
    const field = named(form, path, sentence);
    if (!field) left.push(sentence);
    else if (!field.hasAttribute("aria-invalid")) put(field, sentence);
  }
  const first = form.querySelector("[aria-invalid]");
  first?.closest("details:not([open])")?.setAttribute("open", "");
  first?.focus();
  return left.length ? left.join(" ") : "Nothing was saved. See the marked field.";
}

/** Return where each complaint belongs, as the parts of a path, and its words. */
function told(refusal) {
  const errors = refusal.told?.errors;
  if (!errors?.length) return [[[FIELDS[refusal.code] ?? ""], refusal.message]];
  return errors.flatMap(({ where, what }) =>
    what.replace(/^Value error, /, "").split(NEXT).map((words) => [where.split("."), sentence(words)]),
  );
}

function sentence(words) {
  return `${words[0].toUpperCase()}${words.slice(1)}${words.endsWith(".") ? "" : "."}`;
}

/** Return the field at the end of a path; of a group of settings, the one that the sentence begins with. */
function named(form, path, words) {
  const fields = [...form.elements].filter((field) => field.name);
  for (const [place, name] of [...path.entries()].reverse()) {
    const field = fields.find((each) => each.name === name && (!each.dataset.in || each.dataset.in === path[place - 1]));
    if (field) return field;
  }
  return fields.find((each) => each.dataset.in === path.at(-1) && words.toLowerCase().startsWith(`${each.name} `));
}

function put(field, words) {
  const place = document.createElement("span");
  Object.assign(place, { className: "error-text", textContent: words });
  place.dataset.mark = "";
  field.setAttribute("aria-invalid", "true");
  (field.closest("label") ?? field).append(place);
}
