// Where a message is written. Enter sends it; a button beside it sends, or stops the answer that is coming.

import { find } from "./dom.js";

export class Composer {
  #field = find("question");
  #send = find("send");
  #stop = find("stop");

  /** `send(text)` says whether it could; then the field is empty. */
  constructor(send, stop) {
    const form = find("composer");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (send(this.#field.value)) this.write("");
    });
    onEnter(this.#field, () => form.requestSubmit());
    grows(this.#field);
    this.#stop.addEventListener("click", stop);
  }

  write(text) {
    this.#field.value = text;
    this.#field.dispatchEvent(new Event("input"));
  }

  focus() {
    this.#field.focus();
  }

  /** Is an answer coming? Focus stays where it is, unless its button goes. */
  show(busy) {
    const focused = [this.#send, this.#stop].includes(document.activeElement);
    this.#send.hidden = busy;
    this.#stop.hidden = !busy;
    if (focused && document.activeElement === document.body) this.focus();
  }
}

/** Enter is `act`; with Shift it is a line's end, and while characters are composed it is the input method's. */
export function onEnter(field, act) {
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    act();
  });
}

/** A field as high as its text; CSS bounds it. */
export function grows(field) {
  const fit = () => {
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
  };
  field.addEventListener("input", fit);
  requestAnimationFrame(fit);
}
