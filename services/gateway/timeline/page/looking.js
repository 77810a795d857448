// What the gateway tells, fetched when somebody asks and, while it is live, each second.

import { collect } from "./source.js";

const LIVE_MS = 1000;

export class Looking {
  live = true;
  text = ""; // the newest, as it came
  #loading = null;
  #seconds;
  #button;
  #told;

  /** `seconds` and `button` are elements; `told(trace)` hears each answer, `told.failed(message)` what went wrong. */
  constructor(seconds, button, told) {
    this.#seconds = seconds;
    this.#button = button;
    this.#told = told;
    button.addEventListener("click", () => this.setLive(!this.live));
  }

  /** A look of one's own is for `request`; without one, whatever look is under way will do. */
  async load(request = "") {
    if (request) await this.#loading;
    this.#loading ??= this.#fetched(request).finally(() => (this.#loading = null));
    await this.#loading;
  }

  async anew() {
    await this.#loading;
    await this.load();
  }

  setLive(on) {
    this.live = on;
    this.#button.setAttribute("aria-pressed", String(on));
    this.#button.textContent = on ? "Live" : "Paused";
  }

  /** For ever. */
  async run() {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, LIVE_MS));
      if (this.live && document.visibilityState === "visible") await this.load();
    }
  }

  save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([this.text], { type: "application/json" }));
    link.download = `sluice-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  async #fetched(request) {
    try {
      const answer = await collect(this.#seconds.value, request);
      if (!answer) return this.setLive(false);
      this.text = answer.text;
      this.#told.trace(answer.trace);
    } catch (error) {
      this.#told.failed(error.name === "TimeoutError" ? "the gateway does not answer" : error.message);
    }
  }
}
