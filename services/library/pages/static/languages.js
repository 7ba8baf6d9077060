// Offers the languages that this installation can dub, as ingest tells them.

/** Make the fields `src_lang` and `tgt_lang` of a form selects of them; without an answer the plain field stays. */
export async function offerLanguages(form) {
  let pairs;
  try {
    const answer = await fetch("/api/languages");
    if (!answer.ok) return;
    ({ pairs } = await answer.json());
  } catch {
    return; // the server checks what is typed
  }
  if (!pairs?.length) return;
  const names = new Intl.DisplayNames(undefined, { type: "language" });
  const option = (code) => new Option(names.of(code) ?? code, code);
  const byName = (a, b) => a.text.localeCompare(b.text);
  const source = form.elements.src_lang;
  source.append(...[...new Set(pairs.map((pair) => pair.source))].map(option).sort(byName));
  const target = document.createElement("select");
  Object.assign(target, { name: "tgt_lang", required: true });
  const fill = () => {
    const before = target.value || localStorage.getItem("tgt_lang");
    const fitting = pairs.filter((pair) => source.value === "auto" || pair.source === source.value);
    target.replaceChildren(...[...new Set(fitting.map((pair) => pair.target))].map(option).sort(byName));
    if ([...target.options].some((item) => item.value === before)) target.value = before;
  };
  fill();
  source.addEventListener("change", fill);
  form.elements.tgt_lang.replaceWith(target);
}
