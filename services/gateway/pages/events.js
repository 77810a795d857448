// An event stream, from bytes that may be cut anywhere to events and comments. `EventSource` cannot POST, shows no
// comments and sends no key, so it does not serve here.

export class EventParser {
  #decoder = new TextDecoder();
  #rest = "";
  #id = "";
  #data = [];

  /** What has become complete with these bytes: `{ comment }` or `{ id, data }`, in order. */
  push(bytes) {
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#rest = lines.pop();
    const found = [];
    for (const line of lines) this.#take(line.endsWith("\r") ? line.slice(0, -1) : line, found);
    return found;
  }

  #take(line, found) {
    if (line === "") {
      if (this.#data.length) found.push({ id: this.#id, data: this.#data.join("\n") });
      this.#data = [];
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (colon === 0) found.push({ comment: value });
    else if (field === "data") this.#data.push(value);
    else if (field === "id") this.#id = value;
  }
}
