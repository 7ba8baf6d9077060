// Sending one file with tus: it goes on where it stopped, after a cut, a pause, or a reload and the same file again.
// Lives here: tus, and what is remembered of uploads that are not done. Does not live here: what becomes of one.
/* global tus -- vendor/tus-4.3.1.min.js */
import { changing, renewToken, toSignIn } from "./api.js";

export const ENDPOINT = "/api/uploads/tus";
const RETRIES_MS = [0, 500, 1000, 2000, 4000, 8000, 15000, 30000];
/** Another page of this browser may have got a new cookie, which ends what the old one was good for: once more with it. */
const REFUSED = [401, 403];
/** Another request is at it; as tus itself has it. */
const LATER = [409, 423];

/** Uploads of this browser that were begun and not used: what tus remembers of them, the newest first. */
export async function unfinished() {
  const all = await tus.defaultOptions.urlStorage.findAllUploads();
  return all.sort((one, other) => new Date(other.creationTime) - new Date(one.creationTime));
}

/** Forget one of `unfinished`, here and on the server. */
export async function forget(upload) {
  await tus.defaultOptions.urlStorage.removeUpload(upload.urlStorageKey);
  if (upload.uploadUrl) await fetch(upload.uploadUrl, { method: "DELETE", headers: { ...changing(), "Tus-Resumable": "1.0.0" } }).catch(() => null);
}

/** One file on its way. `progressed(fraction)` is called as bytes arrive. */
export class Sending {
  #upload;
  #ended;
  #renewed;

  constructor(file, progressed) {
    this.#upload = new tus.Upload(file, {
      endpoint: ENDPOINT,
      retryDelays: RETRIES_MS,
      metadata: { filename: file.name, filetype: file.type },
      onShouldRetry: (error, tries) => {
        const status = error.originalResponse?.getStatus() ?? 0;
        if (!REFUSED.includes(status)) return navigator.onLine && (status < 400 || status >= 500 || LATER.includes(status));
        if (!tries) this.#renewed = renewToken();
        return !tries;
      },
      onBeforeRequest: async (request) => {
        await this.#renewed;
        for (const [name, value] of Object.entries(changing())) request.setHeader(name, value);
      },
      onProgress: (sent, total) => progressed(total ? sent / total : 1),
      onSuccess: () => this.#ended.resolve(this.#upload.url.split("/").at(-1)),
      onError: (error) => {
        const answer = error.originalResponse;
        if (answer?.getStatus() === 401) toSignIn();
        this.#ended.reject(new Error(detail(answer) ?? "The connection was lost. What has arrived is kept: go on later."));
      },
    });
  }

  /** Send what is not there yet, and return the upload's id. Throws an Error for the person. */
  async send() {
    const [earlier] = await this.#upload.findPreviousUploads();
    if (earlier && !this.#upload.url) this.#upload.resumeFromPreviousUpload(earlier);
    const ended = new Promise((resolve, reject) => (this.#ended = { resolve, reject }));
    this.#upload.start();
    return ended;
  }

  /** Stop; `resume` goes on. */
  pause() {
    return this.#upload.abort();
  }

  resume() {
    this.#upload.start();
  }

  /** Stop for good: what has arrived goes as well. */
  async drop() {
    await this.#upload.abort(true).catch(() => null);
    await this.done();
  }

  /** Say that the upload was used, or is gone: the same file is sent anew the next time. */
  async done() {
    for (const each of await this.#upload.findPreviousUploads()) {
      await this.#upload.options.urlStorage.removeUpload(each.urlStorageKey);
    }
  }
}

function detail(answer) {
  try {
    return JSON.parse(answer.getBody()).detail;
  } catch {
    return undefined;
  }
}
