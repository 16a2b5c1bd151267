// A machine's requests over fetch.

import { ConfigError } from "./errors.js";

/** Answers may be held back for so long: much that lies between takes a connection for dead after a minute. */
export const PATIENCE_MS = 45_000;

/** In a page, or a worker of one. */
const isBrowser = typeof document !== "undefined" || typeof WorkerGlobalScope !== "undefined";

/** The coordinator's URL without a slash at its end. */
export function baseUrl(url, base) {
  let parsed;
  try {
    parsed = new URL(url, base);
  } catch {
    throw new ConfigError(`${JSON.stringify(String(url))} is not a coordinator's URL; give one such as http://127.0.0.1:8081`);
  }
  if (!/^https?:$/.test(parsed.protocol)) {
    throw new ConfigError(`a coordinator's URL begins with http:// or https://, not with ${parsed.protocol}`);
  }
  if (parsed.search || parsed.hash) throw new ConfigError("a coordinator's URL has no query and no fragment");
  if (parsed.username || parsed.password) {
    throw new ConfigError("fetch takes no user name and password in a URL: give a header, in the option headers");
  }
  return parsed.href.replace(/\/+$/, "");
}

/**
 * A place for a request that waits. Browsers open six connections to a coordinator that speaks HTTP/1.1, for all pages
 * together: if all of them waited for news, no page could send anything. So two of them wait at most. Where nobody
 * can be asked (in Node there is no such limit) there is always a place.
 *
 * Gives a function that gives the place back, or nothing if there is none.
 */
export async function waitingPlace(url, locks = globalThis.navigator?.locks, isLimited = isBrowser) {
  if (!isLimited || !locks) return () => {};
  for (const place of [1, 2]) {
    const name = `pet-participant waits at ${new URL(url).origin} (${place} of 2)`;
    const release = await new Promise((resolve) => {
      const held = locks.request(name, { ifAvailable: true }, (lock) => {
        if (lock === null) {
          resolve(null);
          return undefined;
        }
        return new Promise((done) => resolve(done));
      });
      // Without the right to ask (as in a sandboxed frame) it is as if nobody else waited.
      held.catch(() => resolve(() => {}));
    });
    if (release) return release;
  }
  return null;
}

export class Transport {
  #url;
  #fetch;
  #headers;
  #credentials;
  #requests = new Map();

  constructor({ url, fetch = globalThis.fetch, headers = {}, credentials }) {
    this.#url = url;
    this.#fetch = fetch;
    this.#headers = headers;
    this.#credentials = credentials;
  }

  /** Sends a request; gives what has become of it, or nothing if it was cancelled. */
  async send(request) {
    const controller = new AbortController();
    this.#requests.set(request.id, controller);
    const place = request.patience && (await waitingPlace(this.#url));
    try {
      if (controller.signal.aborted) return null;
      return await this.#exchange(request, Boolean(place), controller);
    } finally {
      place?.();
      this.#requests.delete(request.id);
    }
  }

  cancel(id) {
    this.#requests.get(id)?.abort();
  }

  cancelAll() {
    for (const controller of this.#requests.values()) controller.abort();
  }

  async #exchange({ method, target, headers, patience, body, answerMs, totalMs, maxAnswer }, mayWait, controller) {
    // Who does not wait says what is known, too: an answer with no news is short.
    const extra = (patience?.headers ?? []).filter(([name]) => mayWait || name !== "prefer");
    const longer = mayWait ? patience.waitMs : 0;
    const timedOut = Symbol("timed out");
    const stop = () => controller.abort(timedOut);
    const total = setTimeout(stop, totalMs + longer);
    const answer = setTimeout(stop, answerMs + longer);
    try {
      const response = await this.#fetch.call(globalThis, this.#url + target, {
        method,
        headers: [...Object.entries(this.#headers), ...headers, ...extra],
        body: body ?? undefined,
        signal: controller.signal,
        cache: "no-store",
        redirect: "manual",
        referrerPolicy: "no-referrer",
        ...(this.#credentials && { credentials: this.#credentials }),
      });
      clearTimeout(answer);
      const read = await bodyOf(response, maxAnswer);
      if (read === null) {
        controller.abort();
        return { fault: "toolarge" };
      }
      return {
        response: {
          // Browsers do not show where a redirect leads, nor its status: it is one, and is not followed.
          status: response.type === "opaqueredirect" ? 302 : response.status,
          body: read,
          retryAfter: response.headers.get("retry-after"),
          contentType: response.headers.get("content-type"),
        },
      };
    } catch (error) {
      if (controller.signal.reason === timedOut) return { fault: "timeout" };
      if (controller.signal.aborted) return null;
      return { fault: "unreachable", text: why(error) };
    } finally {
      clearTimeout(total);
      clearTimeout(answer);
    }
  }
}

/** The body of an answer; null if it is longer than it may be. */
async function bodyOf(response, most) {
  if (Number(response.headers.get("content-length")) > most) return null;
  if (!response.body) return new Uint8Array(0);
  const pieces = [];
  let length = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > most) return null;
    pieces.push(value);
  }
  if (pieces.length === 1) return pieces[0];
  const whole = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** Why fetch has failed. Node says it in the cause; browsers do not tell scripts. */
function why(error) {
  const cause = error?.cause;
  if (cause?.code || cause?.message) return `${cause.message || cause.code}`;
  const text = String(error?.message ?? error);
  return isBrowser
    ? `${text}: it does not run, or does not let pages of this origin in (see its setting api.cors_origins)`
    : text;
}
