// The job's log: followed while it is open, its last lines first.

const LINES_MAX = 2000;
const NEAR_PX = 40;

/** Follow the log named by a `<details data-log>` while it is open. */
export function prepareLog(details) {
  const place = details.querySelector("#log");
  let source = null;
  const stop = () => {
    source?.close();
    source = null;
  };
  details.addEventListener("toggle", () => {
    stop();
    if (!details.open || !window.EventSource) return;
    place.replaceChildren();
    source = new EventSource(details.dataset.log);
    source.addEventListener("log", (event) => add(place, event.data));
    source.addEventListener("end", () => {
      stop();
      if (!place.childElementCount) place.textContent = "Nothing was written.";
    });
  });
  addEventListener("pagehide", stop);
}

function add(place, html) {
  const atEnd = place.scrollHeight - place.scrollTop - place.clientHeight < NEAR_PX;
  const line = document.createElement("div");
  line.textContent = new DOMParser().parseFromString(html, "text/html").body.textContent;
  place.append(line);
  if (place.childElementCount > LINES_MAX) place.firstElementChild.remove();
  if (atEnd) place.scrollTop = place.scrollHeight;
}
