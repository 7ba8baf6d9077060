// Small things that the forms of accounts share: what is said in them, and secrets that are shown once.

/** Say something in a form, bad news unless told otherwise. */
export function message(form, text, bad = true) {
  const place = form.querySelector(".message");
  place.textContent = text;
  place.classList.toggle("bad", bad && text !== "");
}

/** Let a button copy what `text` returns; without HTTPS there is no clipboard, so `select` marks it for Ctrl-C. */
export function prepareCopy(button, text, select) {
  const before = button.textContent;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
    } catch {
      select();
      button.textContent = "Press Ctrl-C";
    }
    setTimeout(() => (button.textContent = before), 3000);
  });
}

/** Put a picture that the server drew into a place: an element of its own, as the page's policy asks. */
export function picture(place, svg, name) {
  const drawn = new DOMParser().parseFromString(svg, "text/html").querySelector("svg");
  drawn.setAttribute("viewBox", `0 0 ${drawn.getAttribute("width")} ${drawn.getAttribute("height")}`); // to be scaled
  drawn.setAttribute("role", "img");
  drawn.setAttribute("aria-label", name);
  place.replaceChildren(document.adoptNode(drawn));
}

const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** Return a time of the API in the reader's own words. */
export function moment(timestamp) {
  return timestamp ? MOMENT.format(new Date(timestamp)) : "";
}

/** Return a browser and a system from what a browser says of itself: Firefox on Linux. */
export function device(agent) {
  const browser = [["Edg/", "Edge"], ["OPR/", "Opera"], ["Firefox/", "Firefox"], ["Chrome/", "Chrome"], ["Safari/", "Safari"]];
  const system = [["Android", "Android"], ["iPhone", "iPhone"], ["iPad", "iPad"], ["Windows", "Windows"], ["Mac OS X", "a Mac"], ["Linux", "Linux"]];
  const find = (among) => among.find(([mark]) => agent.includes(mark))?.[1];
  const [name, on] = [find(browser), find(system)];
  if (!name) return agent.slice(0, 60) || "A program";
  return on ? `${name} on ${on}` : name;
}
