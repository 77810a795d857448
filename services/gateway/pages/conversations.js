// The conversations of this browser, in its localStorage: one entry each, the newest 50, and fewer where room is short.
// A message that is being written is kept with the place in its stream, so text and place always belong together.

const PREFIX = "sluice.chat.";
const MOST = 50;

export class Conversations {
  #storage;
  #kept = new Map();

  /** `changed(id)`: another tab has changed one. */
  constructor(storage, changed = () => {}) {
    this.#storage = storage;
    for (const name of Object.keys(storage).filter((name) => name.startsWith(PREFIX))) this.#load(name);
    addEventListener("storage", ({ key }) => {
      if (!key?.startsWith(PREFIX)) return;
      this.#load(key);
      changed(key.slice(PREFIX.length));
    });
  }

  /** The newest first; those without a message are not worth a line. */
  list() {
    const begun = [...this.#kept.values()].filter((conversation) => conversation.messages.length);
    return begun.sort((a, b) => b.updated - a.updated);
  }

  get(id) {
    return this.#kept.get(id);
  }

  /** A new one; it is kept once it is saved. */
  create() {
    return { id: unique(), title: "", updated: Date.now(), messages: [] };
  }

  save(conversation) {
    this.#kept.set(conversation.id, conversation);
    for (const old of this.list().slice(MOST)) this.remove(old.id);
    const text = JSON.stringify(conversation);
    while (!this.#write(conversation.id, text)) {
      const oldest = this.list().filter(({ id }) => id !== conversation.id).at(-1);
      if (!oldest) return; // alone and too large: it lives as long as this page
      this.remove(oldest.id);
    }
  }

  remove(id) {
    this.#kept.delete(id);
    this.#storage.removeItem(PREFIX + id);
  }

  #write(id, text) {
    try {
      this.#storage.setItem(PREFIX + id, text);
      return true;
    } catch {
      return false; // no room
    }
  }

  #load(name) {
    const id = name.slice(PREFIX.length);
    try {
      const conversation = JSON.parse(this.#storage.getItem(name));
      if (conversation?.id !== id || !Array.isArray(conversation.messages)) throw new TypeError("no conversation");
      this.#kept.set(id, conversation);
    } catch {
      this.#kept.delete(id);
      this.#storage.removeItem(name);
    }
  }
}

/** 128 random bits; `crypto.randomUUID` is only there on https and localhost. */
export function unique() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
