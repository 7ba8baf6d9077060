// Asking the API: JSON there and back, problem details as errors, the session's token on what changes something, and
// the way to the sign-in page when the session is over. Does not live here: what is asked, and where answers are shown.

const SAFE = ["GET", "HEAD"];
const LOGIN = "/ui/login";

/** A refusal: `message` is for the person, `status`, `code` and `told` for scripts. */
export class Refusal extends Error {
  constructor(message, status, told) {
    super(message);
    this.status = status;
    this.told = told ?? {};
    this.code = this.told.code ?? "";
  }
}

/** Ask the API and return its answer. `body` is sent as JSON, a string as it is. Throws a Refusal.
 *  A 401 leads to the sign-in page unless `anonymous` (pages on which nobody is signed in yet). */
export async function call(path, method = "GET", body = undefined, { anonymous = false } = {}) {
  let answer = await send(path, method, body);
  if (answer.status === 401 && SAFE.includes(method) && !anonymous && (await renewToken())) answer = await send(path, method, body);
  if (answer.status === 403) {
    const { code } = await answer.clone().json().catch(() => ({}));
    if (code === "csrf_invalid" || code === "csrf_required") {
      if (await renewToken()) answer = await send(path, method, body);
    } else if (code === "confirmation_required") {
      const { prove } = await import("./prove.js");
      if (!(await prove())) throw new Refusal("Nothing was changed.", 403, { code });
      answer = await send(path, method, body);
    }
  }
  const told = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (answer.ok) return told;
  if (answer.status === 401 && !anonymous && ["not_signed_in", "invalid_credential"].includes(told?.code)) toSignIn();
  throw new Refusal(told?.detail ?? `The server answered ${answer.status}. Try again.`, answer.status, told);
}

/** Return the headers that a change must have. */
export function changing() {
  const token = document.querySelector("meta[name=csrf]")?.content;
  return token ? { "X-CSRF-Token": token } : {};
}

/** Take over the token of a new cookie, as another password or a proof makes one. */
export function setToken(token) {
  const meta = document.querySelector("meta[name=csrf]");
  if (meta && token) meta.content = token;
}

/** Go to the sign-in page, and from there back to here. */
export function toSignIn() {
  location.assign(`${LOGIN}?next=${encodeURIComponent(location.pathname + location.search)}`);
}

/** Whether a page that was fetched is the sign-in page: then the session is over. */
export function isSignIn(answer) {
  return answer.redirected && new URL(answer.url).pathname === LOGIN;
}

async function send(path, method, body) {
  const headers = SAFE.includes(method) ? {} : changing();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    return await fetch(path, { method, headers, body: typeof body === "object" ? JSON.stringify(body) : body });
  } catch {
    throw new Refusal("The server does not answer. Try again.", 0);
  }
}

/** Another page of this browser may have got a new cookie: fetch its token. Return whether there is a session. */
export async function renewToken() {
  const answer = await fetch("/api/auth/me").catch(() => null);
  if (!answer?.ok) return false;
  setToken((await answer.json()).csrf_token);
  return true;
}
