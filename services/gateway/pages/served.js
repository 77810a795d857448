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

  /** As it is now. Throws what the server says. */
  async name() {
    this.#model = await this.#server.model();
    return this.#model.id;
  }

  /** Show its name and how far it is, until it is ready. */
  async watch() {
    for (let ready = false; !ready; ) {
      const state = await this.#server.readiness().catch(() => ({ message: "the server cannot be reached" }));
      await this.name().catch(() => {});
      ready = state.ready === true && this.#model !== null;
      write(this.#label, [this.#model?.id, !state.ready && progress(state)].filter(Boolean).join(" · ") || "Sluice");
      if (this.#model) document.title = `${this.#model.id} · Sluice`;
      if (!ready) await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
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
