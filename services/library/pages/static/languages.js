// Offers the languages that this installation can dub, as ingest tells them.

let asked;

/** Make the fields `src_lang` and `tgt_lang` of a form selects of them; without an answer the plain field stays.
 *  What a field has already stays chosen; where it has nothing, the language that was dubbed into last is. */
export async function offerLanguages(form) {
  if (form.dataset.offered) return;
  form.dataset.offered = "true";
  asked ??= pairs();
  const known = await asked;
  if (!known.length) {
    delete form.dataset.offered;
    asked = undefined;
    return;
  }
  const names = new Intl.DisplayNames(undefined, { type: "language" });
  const option = (code) => new Option(names.of(code) ?? code, code);
  const byName = (a, b) => a.text.localeCompare(b.text);
  const { src_lang: source, tgt_lang: field } = form.elements;
  const there = new Set([...source.options].map((one) => one.value));
  const sources = new Set(known.map((pair) => pair.source));
  source.append(...[...sources].filter((code) => !there.has(code)).map(option).sort(byName));
  const target = field.tagName === "SELECT" ? field : document.createElement("select");
  const own = [...target.options]; // what the page offers besides languages
  if (target !== field) Object.assign(target, { name: "tgt_lang", required: true });
  const fill = () => {
    const before = own.length ? target.value : target.value || field.value || localStorage.getItem("tgt_lang");
    const fitting = known.filter((pair) => ["", "auto"].includes(source.value) || pair.source === source.value);
    target.replaceChildren(...own, ...[...new Set(fitting.map((pair) => pair.target))].map(option).sort(byName));
    if ([...target.options].some((item) => item.value === before)) target.value = before;
  };
  fill();
  source.addEventListener("change", fill);
  if (target === field) return;
  if (field.value && target.value !== field.value) target.append(new Option(names.of(field.value), field.value, true, true));
  field.replaceWith(target);
}

async function pairs() {
  try {
    const answer = await fetch("/api/languages");
    return answer.ok ? (await answer.json()).pairs : [];
  } catch {
    return []; // the server checks what is typed
  }
}
