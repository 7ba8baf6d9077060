// The videos that were chosen: a row for each, with its size, how far it is, and what can be done with it.
import { newRow } from "./rows.js";

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** Return a size as people write it. */
export function size(bytes) {
  let [value, unit] = [bytes, 0];
  while (value >= 1000 && unit < UNITS.length - 1) [value, unit] = [value / 1000, unit + 1];
  return unit ? `${value.toFixed(1)} ${UNITS[unit]}` : `${bytes} B`;
}

/** A row of a chosen video: a `file` of this device, or a `path` of the server's folder. */
export class Source {
  constructor(list, { file = null, path = "", name, bytes }, removed) {
    const { row, part } = newRow("source-row");
    Object.assign(this, { file, path, name, bytes, row, part, state: "chosen", jobId: "" });
    part("name").textContent = name;
    part("size").textContent = size(bytes);
    part("bar").setAttribute("aria-label", `Upload of ${name}`);
    part("remove").setAttribute("aria-label", `Remove ${name}`);
    part("remove").addEventListener("click", async () => {
      await this.sending?.drop();
      this.row.remove();
      removed(this);
    });
    part("pause").addEventListener("click", () => this.turn());
    list.append(row);
  }

  /** Show where it is: `words` for people. */
  show(state, words, bad = false) {
    this.state = state;
    const status = this.part("status");
    status.textContent = words;
    status.classList.toggle("error-text", bad);
    this.part("bar").hidden = !["sending", "paused"].includes(state);
    const pause = this.part("pause");
    pause.hidden = !["sending", "paused"].includes(state);
    pause.textContent = state === "paused" ? "Go on" : "Pause";
    pause.setAttribute("aria-label", `${pause.textContent} with ${this.name}`);
    this.part("remove").hidden = ["checking", "accepted"].includes(state);
  }

  progress(fraction) {
    this.part("bar").value = fraction;
    if (this.state === "sending") this.part("status").textContent = `${Math.floor(fraction * 100)} %`;
  }

  /** Pause what is sent, or go on. */
  async turn() {
    if (this.state === "sending") {
      await this.sending.pause();
      this.show("paused", "Paused");
    } else {
      this.show("sending", "Going on…");
      this.sending.resume();
    }
  }

  /** Show that it has become a job. */
  accept(jobId) {
    this.jobId = jobId;
    this.show("accepted", "");
    const link = document.createElement("a");
    link.href = `/ui/jobs/${encodeURIComponent(jobId)}`;
    link.textContent = "Accepted: its page";
    this.part("status").replaceChildren(link);
  }
}
