// What is sent with each question: the system prompt and the sampling parameters. Empty means: as the model has it.

import { element } from "./dom.js";

const PLACE = "sluice.settings";

// name, label, what it does, and the attributes of its field
const NUMBERS = [
  ["temperature", "Temperature", "How much chance there is in the choice of a token; 0 takes the likeliest.", { min: 0, max: 2, step: 0.1 }],
  ["max_tokens", "Max tokens", "The answer ends after so many.", { min: 1, step: 1 }],
  ["top_p", "Top p", "Only the likeliest tokens that together have this probability.", { min: 0.01, max: 1, step: 0.01 }],
  ["top_k", "Top k", "Only so many of the likeliest tokens; 0 for all.", { min: 0, step: 1 }],
  ["min_p", "Min p", "Only tokens at least this likely, beside the likeliest.", { min: 0, max: 1, step: 0.01 }],
  ["seed", "Seed", "The same number gives the same answer.", { step: 1 }],
  ["presence_penalty", "Presence", "Against tokens that the answer already has.", { min: -2, max: 2, step: 0.1 }],
  ["frequency_penalty", "Frequency", "Against tokens, as often as the answer has them.", { min: -2, max: 2, step: 0.1 }],
  ["repetition_penalty", "Repetition", "Divides the weight of all tokens that are there already; 1 does nothing.", { min: 0.1, max: 2, step: 0.05 }],
];

export class Settings {
  #storage;
  #form;
  #values;

  constructor(storage, form) {
    this.#storage = storage;
    this.#form = form;
    this.#values = read(storage);
    this.#build();
    this.#show();
    form.addEventListener("input", () => this.#keep());
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  get system() {
    return this.#values.system?.trim() ?? "";
  }

  /** Is every field something that can be sent? If not, the browser says which and why. */
  check() {
    if (this.#form.checkValidity()) return true;
    this.#form.closest("aside").hidden = false;
    return this.#form.reportValidity();
  }

  /** The fields of a request that somebody has filled in. */
  parameters() {
    const given = {};
    for (const [name] of NUMBERS) if (this.#values[name]) given[name] = Number(this.#values[name]);
    const stop = (this.#values.stop ?? "").split("\n").filter(Boolean);
    if (stop.length) given.stop = stop;
    return given;
  }

  #keep() {
    this.#values = Object.fromEntries([...new FormData(this.#form)].filter(([, value]) => value !== ""));
    this.#storage.setItem(PLACE, JSON.stringify(this.#values));
  }

  #show() {
    for (const field of this.#form.querySelectorAll("input, textarea")) field.value = this.#values[field.name] ?? "";
  }

  #build() {
    const area = (name, label, hint, rows) =>
      element("label", { class: "wide", title: hint }, label, element("textarea", { name, rows, placeholder: hint }));
    const number = ([name, label, hint, attributes]) =>
      element("label", { title: hint }, label, element("input", { name, type: "number", placeholder: "default", ...attributes }));
    const reset = () => {
      this.#form.reset();
      this.#keep();
    };
    this.#form.append(
      area("system", "System prompt", "Who the model is, and how it answers", 5),
      ...NUMBERS.slice(0, 6).map(number),
      element("fieldset", {}, element("legend", {}, "Penalties"), ...NUMBERS.slice(6).map(number)),
      area("stop", "Stop", "Strings that end the answer, one on a line", 2),
      element("button", { type: "button", class: "wide", click: reset }, "Reset to the model's defaults"),
    );
  }
}

function read(storage) {
  try {
    return { ...JSON.parse(storage.getItem(PLACE)) };
  } catch {
    return {};
  }
}
