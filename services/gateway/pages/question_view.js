// One message of the user: as it was sent, or being edited.

import { grows, onEnter } from "./composer.js";
import { copyButton, element, iconButton, write } from "./dom.js";

export class QuestionView {
  root = element("article", { class: "question", "aria-label": "You" });
  #message;
  #resend;
  #text = element("div", { class: "bubble" });
  #tools;

  constructor(message, { resend }) {
    this.#message = message;
    this.#resend = resend;
    this.#tools = element(
      "div",
      { class: "tools" },
      copyButton("Copy the message", () => message.text),
      iconButton("edit", "Edit and send again", () => this.#edit()),
    );
    this.root.append(this.#text, this.#tools);
  }

  show(message) {
    write(this.#text, message.text);
  }

  #edit() {
    const field = element("textarea", { "aria-label": "Edit the message", rows: 1 });
    field.value = this.#message.text;
    const send = () => field.value.trim() && this.#resend(this.#message, field.value);
    const back = () => {
      this.root.replaceChildren(this.#text, this.#tools);
      this.#tools.lastElementChild.focus();
    };
    onEnter(field, send);
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      back();
    });
    const row = element(
      "div",
      { class: "row" },
      element("button", { type: "button", click: back }, "Cancel"),
      element("button", { type: "button", class: "main", click: send }, "Send"),
    );
    this.root.replaceChildren(element("div", { class: "editor" }, field, row));
    grows(field);
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }
}
