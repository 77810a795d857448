// One answer being read, over as many connections as it takes. It owns the message while it reads: the text, the place in
// the stream (`cursor`) and what there is to say of it. Where a connection breaks, or another page's life ended, it goes
// on behind the last event.

import { EventParser } from "./events.js";
import { Pace } from "./pace.js";
import { Refusal, sentence } from "./server.js";

const SILENCE_MS = 25_000; // the server says something every 10 s
const PATIENCE_MS = 60_000; // for which the server keeps an answer that nobody reads
const PAUSES_MS = [250, 500, 1000, 2000];
const STOP_MS = 3000; // for a cancel to end the stream
const NAME_MS = 12_000; // for the server to say how the stream is called: with its first word, at most 10 s
const QUEUED = /^queued position=(\d+)(?: estimate=([\d.]+)s)?/;

/** A message that is to be answered. `body` goes with it until it has ended: the question may have to be asked again. */
export function blank(id, once, body) {
  return { id, role: "assistant", state: "open", text: "", tokens: 0, once, body, request: "", cursor: "" };
}

export class Reading {
  #server;
  #answer;
  #changed;
  #pace;
  #cut = null; // of the connection that is open
  #wake = null; // of the pause between two connections
  #alive = performance.now(); // when the server was last heard

  /** `changed()` after each change of the message; `fresh`: its question was asked just now. */
  constructor(server, answer, changed, fresh) {
    this.#server = server;
    this.#answer = answer;
    this.#changed = changed;
    this.#pace = new Pace(fresh ? performance.now() : null);
  }

  /** Until the message has ended. Throws nothing: what went wrong is said in the message. */
  async run() {
    const online = () => this.#again();
    addEventListener("online", online);
    for (let failures = 0; this.#open; failures++) {
      if (failures) await this.#pause(failures);
      if (this.#open) failures = (await this.#connect()) ? 0 : failures;
    }
    removeEventListener("online", online);
  }

  /** Ask the server to end it; without its word after a while it ends here. */
  stop() {
    const answer = this.#answer;
    if (!this.#open || answer.stopping) return;
    answer.stopping = true;
    this.#changed();
    if (answer.request) this.#cancel();
    else setTimeout(() => this.#end("stopped"), NAME_MS); // until then there is nothing to cancel it by
  }

  get #open() {
    return this.#answer.state === "open";
  }

  /** One connection, from its beginning to its end. Did it bring anything? */
  async #connect() {
    const { once, body, request, cursor } = this.#answer;
    this.#cut = new AbortController();
    const heard = this.#alive;
    try {
      const response = await (request
        ? this.#server.resume(request, cursor, this.#cut.signal)
        : this.#server.ask(body, once, this.#cut.signal));
      await this.#read(response);
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#cut.abort();
    }
    return this.#alive !== heard;
  }

  async #read(response) {
    const events = new EventParser();
    const source = response.body.getReader();
    this.#named(response.headers.get("X-Request-Id"));
    this.#pace.connected();
    while (this.#open) {
      const silent = setTimeout(() => this.#cut.abort(), SILENCE_MS);
      const { done, value } = await source.read().finally(() => clearTimeout(silent));
      if (done) return;
      this.#alive = performance.now();
      delete this.#answer.lost;
      try {
        for (const event of events.push(value)) this.#take(event);
      } catch (error) {
        this.#end("failed", `The answer cannot be read: ${error.message}.`);
      }
      this.#changed();
    }
  }

  #named(request) {
    const answer = this.#answer;
    answer.request = request ?? answer.request;
    if (answer.stopping) this.#cancel();
    this.#changed();
  }

  #cancel() {
    setTimeout(() => this.#end("stopped"), STOP_MS);
    this.#server.cancel(this.#answer.request).catch(() => {}); // it ends here in any case
  }

  #take({ comment, id, data }) {
    const answer = this.#answer;
    if (comment !== undefined) {
      const [, position, estimate] = QUEUED.exec(comment) ?? [];
      answer.queue = position && { position: Number(position), estimate: estimate && Number(estimate) };
    } else if (data === "[DONE]") {
      this.#end(answer.stopping ? "stopped" : "done");
    } else {
      this.#chunk(id, JSON.parse(data));
    }
  }

  #chunk(id, { error, choices, usage }) {
    const answer = this.#answer;
    if (error) return this.#end("failed", sentence(error.message));
    const text = choices[0]?.delta?.content;
    if (text) {
      answer.text += text;
      answer.tokens = Number(id);
      this.#pace.saw(answer, answer.tokens, performance.now());
      delete answer.queue;
    }
    answer.reason = choices[0]?.finish_reason ?? answer.reason;
    if (usage) {
      answer.tokens = usage.completion_tokens;
      answer.context = usage.total_tokens;
    }
    answer.cursor = id;
  }

  #failed(error) {
    const answer = this.#answer;
    if (!this.#open) return;
    const gone = performance.now() - this.#alive > PATIENCE_MS;
    if (error instanceof Refusal && !(answer.request && error.passes)) this.#end("failed", error.message);
    else if (answer.stopping) this.#end("stopped");
    else if (gone && navigator.onLine) this.#end("failed", "The connection to the server was lost.");
  }

  #end(state, error) {
    const answer = this.#answer;
    if (!this.#open) return;
    answer.state = state;
    if (error) answer.error = error;
    for (const field of ["once", "body", "queue", "stopping", "lost", "cursor"]) delete answer[field];
    this.#again();
    this.#changed();
  }

  #pause(failures) {
    this.#answer.lost = true;
    delete this.#answer.queue;
    this.#changed();
    const pause = PAUSES_MS[Math.min(failures, PAUSES_MS.length) - 1];
    return new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, pause);
    });
  }

  /** Whatever it waits for: look again now. */
  #again() {
    this.#cut?.abort();
    this.#wake?.();
  }
}
