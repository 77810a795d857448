// The model that is served: its name, what it can take, and whether it is there yet.

import { write } from "./dom.js";

const AGAIN_MS = 2000; // between two looks while it is not ready

export class Served {
  #server;
  #model = null;
  #label;
  #context;

  /** `label` and `context`: where name and use of the context are shown. */
  constructor(server, label, context) {
    this.#server = server;
    this.#label = label;
    this.#context = context;
  }

  /** As last heard, without waiting; the next question knows if it has changed. Throws what the server says. */
  async name() {
    const asked = this.#ask();
    if (this.#model === null) await asked;
    else asked.catch(() => {});
    return this.#model.id;
  }

  /** Show its name and how far it is, until it is ready, or until somebody has no key for it. */
  async watch() {
    for (let over = false; !over; ) {
      const state = await this.#server.readiness().catch(() => ({ message: "the server cannot be reached" }));
      const refused = await this.#ask().then(() => null, (error) => error);
      this.#name(state.ready ? "" : progress(state));
      over = refused?.status === 401 || (refused === null && state.ready === true);
      if (!over) await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }

  async #ask() {
    this.#model = await this.#server.model();
    this.#name("");
  }

  #name(progress) {
    write(this.#label, [this.#model?.id ?? "Sluice", progress].filter(Boolean).join(" · "));
    if (this.#model) document.title = `${this.#model.id} · Sluice`;
  }

  /** How many tokens the conversation has, of those that the model can take. */
  show(conversation) {
    const used = conversation.messages.findLast((message) => message.context)?.context;
    const most = this.#model?.max_model_len;
    const of = most ? ` of ${most.toLocaleString("en")}` : "";
    write(this.#context, used ? `${used.toLocaleString("en")}${of} tokens` : "");
  }
}

function progress({ message, progress }) {
  return progress == null ? message : `${message}, ${Math.round(progress * 100)} %`;
}
