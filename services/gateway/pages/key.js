// The API key, if the server wants one: asked for in a dialog, kept for this tab only.

import { find, write } from "./dom.js";

const PLACE = "sluice.key";
const NOTE = "It stays in this tab and is forgotten when you close it.";

export class Key {
  #storage;
  #asking = null;

  constructor(storage) {
    this.#storage = storage;
  }

  get value() {
    return this.#storage.getItem(PLACE) ?? "";
  }

  /** Ask the user; false if there is none. All who ask at the same time share one dialog. */
  ask(wrong) {
    this.#asking ??= this.#show(wrong).finally(() => (this.#asking = null));
    return this.#asking;
  }

  #show(wrong) {
    const dialog = find("key");
    const field = find("key-field");
    write(find("key-note"), wrong ? "The server does not know this key. Try another." : NOTE);
    field.value = "";
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((resolve) => {
      const given = () => {
        const value = field.value.trim();
        field.value = "";
        if (dialog.returnValue === "given" && value) this.#storage.setItem(PLACE, value);
        resolve(dialog.returnValue === "given" && value !== "");
      };
      dialog.querySelector("[type=submit]").value = "given";
      find("key-cancel").onclick = () => dialog.close();
      dialog.addEventListener("close", given, { once: true });
    });
  }
}
