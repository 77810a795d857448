// One answer: its text, what there is to say while none comes, and what was measured. It is drawn at most once a frame.

import { copyButton, element, icon, iconButton, write } from "./dom.js";
import { Rendering } from "./rendering.js";
import { figures } from "./pace.js";

export class AnswerView {
  root = element("article", { class: "answer", "aria-label": "Answer" });
  #text = element("div", { class: "markdown" });
  #note = element("p", { class: "note", hidden: true });
  #error = element("div", { class: "error", role: "alert", hidden: true });
  #figures = element("span", { class: "figures" });
  #timeline = element("a", { class: "timeline", target: "_blank", rel: "opener", hidden: true }, "timeline");
  #again;
  #tools;
  #rendering = new Rendering(this.#text);
  #drawn = null; // what the next frame draws

  constructor(answer, { regenerate }) {
    const again = () => regenerate(answer);
    this.#again = iconButton("again", "Another answer", again);
    this.#tools = element("span", { class: "tools" }, copyButton("Copy the answer", () => answer.text), this.#again);
    const words = element("span");
    this.#error.append(words, element("button", { type: "button", click: again }, icon("again"), "Try again"));
    const foot = element("footer", {}, this.#figures, this.#timeline, this.#tools);
    this.root.append(this.#text, this.#note, this.#error, foot);
  }

  /** `last`: only the last answer can be had anew. */
  show(answer, last) {
    if (this.#drawn === null) requestAnimationFrame(() => this.#draw());
    this.#drawn = { answer, last };
  }

  #draw() {
    const { answer, last } = this.#drawn;
    this.#drawn = null;
    const open = answer.state === "open";
    this.root.setAttribute("aria-busy", String(open));
    this.root.dataset.state = open && !answer.text ? "waiting" : answer.state;
    this.#rendering.show(answer.text);
    this.#say(note(answer));
    this.#fail(answer, last);
    write(this.#figures, figures(answer));
    this.#timeline.hidden = !answer.request;
    if (answer.request) this.#timeline.setAttribute("href", `debug/timeline?request=${encodeURIComponent(answer.request)}`);
    this.#tools.hidden = open || (answer.state === "failed" && !answer.text);
    this.#again.hidden = !last;
  }

  #say(text) {
    this.#note.hidden = text === "";
    write(this.#note, text);
  }

  #fail(answer, last) {
    this.#error.hidden = answer.state !== "failed";
    if (answer.error) write(this.#error.firstElementChild, answer.error);
    this.#error.lastElementChild.hidden = !last;
  }
}

function note({ state, stopping, lost, queue, text, reason }) {
  if (state === "stopped") return "Stopped";
  if (state === "done") return reason === "length" ? "Ended by the limit of tokens" : text ? "" : "The answer is empty";
  if (state !== "open") return "";
  if (stopping) return "Stopping…";
  if (lost) return "The connection broke; going on…";
  if (queue) return waiting(queue);
  return text ? "" : "Thinking…";
}

function waiting({ position, estimate }) {
  const about = estimate ? `, about ${estimate < 10 ? estimate : Math.round(estimate)} s` : "";
  return `Waiting: number ${position} in the queue${about}`;
}
