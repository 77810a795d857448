// What the page asks of the server it came from, and what the server says no with.

const STREAM = "text/event-stream";

/** An answer that is an error. `message` is in words for people. */
export class Refusal extends Error {
  constructor(status, message, code = null) {
    super(message);
    this.status = status;
    this.code = code;
  }

  /** May the same question do in a moment? */
  get passes() {
    return this.status === 429 || this.status >= 500;
  }
}

export class Server {
  #key;

  /** `key`: see key.js. */
  constructor(key) {
    this.#key = key;
  }

  /** The served model: `{ id, max_model_len }`. */
  async model() {
    const { data } = await (await this.#fetch("v1/models")).json();
    if (!data?.length) throw new Refusal(503, "The server serves no model.");
    return data[0];
  }

  /** `{ ready, message, progress }`. */
  async readiness() {
    return (await fetch("ready")).json();
  }

  /** Ask for a chat. The same `once` again attaches to the answer that runs already, or replays it. */
  ask(body, once, signal) {
    const headers = {
      "Content-Type": "application/json",
      Accept: STREAM,
      "X-On-Disconnect": "detach=60",
      "Idempotency-Key": once,
    };
    return this.#fetch("v1/chat/completions", { method: "POST", headers, body: JSON.stringify(body), signal });
  }

  /** Go on behind the event `cursor`; from the beginning if it is empty. */
  resume(request, cursor, signal) {
    const after = cursor ? `?starting_after=${encodeURIComponent(cursor)}` : "";
    return this.#fetch(`v1/streams/${encodeURIComponent(request)}${after}`, { headers: { Accept: STREAM }, signal });
  }

  cancel(request) {
    return this.#fetch(`v1/streams/${encodeURIComponent(request)}/cancel`, { method: "POST" });
  }

  /** Throws Refusal, or what `fetch` throws where there is no answer at all. */
  async #fetch(path, options = {}) {
    for (;;) {
      const key = this.#key.value;
      const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
      const response = await fetch(path, { cache: "no-store", ...options, headers });
      if (response.ok) return response;
      if (response.status !== 401) throw await refusal(response);
      const changed = this.#key.value !== key; // by another call, while this one was on its way
      if (!changed && !(await this.#key.ask(key !== ""))) throw await refusal(response);
    }
  }
}

async function refusal(response) {
  const { message, code } = await response.json().then((body) => body.error ?? {}, () => ({}));
  return new Refusal(response.status, words(response, message), code);
}

function words(response, message) {
  const wait = Number(response.headers.get("Retry-After"));
  const after = wait > 0 ? ` Try again in ${wait} s.` : "";
  if (response.status === 429) return sentence(`The server is busy: ${message ?? "too many requests"}`) + after;
  if (response.status === 503) return sentence(`Not ready yet: ${message ?? "the server is starting"}`) + after;
  return sentence(message ?? `The server answered ${response.status} ${response.statusText}`);
}

/** With a capital letter and an end. */
export function sentence(text) {
  const said = text.trim();
  return said.charAt(0).toUpperCase() + said.slice(1) + (/[.!?]$/.test(said) ? "" : ".");
}
