// What the page is about: the conversation that is shown, and every answer that is being read, shown or not.

import { unique } from "./conversations.js";
import { blank, Reading } from "./reading.js";
import { Refusal } from "./server.js";

const SAVE_MS = 300; // between two looks at localStorage while an answer comes
const TITLE = 80; // characters

export class Chat {
  shown;
  #conversations;
  #server;
  #served;
  #settings;
  #view;
  #readings = new Map(); // by answer
  #unsaved = new Map(); // timers by conversation
  #removed = new WeakSet(); // conversations

  /** `view`: `show(conversation)` for another one or another list of messages, `update(answer)` for one answer,
   * `list()` for the names of all. */
  constructor(conversations, server, served, settings, view) {
    this.#conversations = conversations;
    this.#server = server;
    this.#served = served;
    this.#settings = settings;
    this.#view = view;
    addEventListener("pagehide", () => [...this.#unsaved.keys()].forEach((conversation) => this.#save(conversation)));
  }

  /** Go on with what another page's life has left open, and show conversation `id`, or a new one. */
  begin(id) {
    for (const conversation of this.#conversations.list()) this.#pickUp(conversation);
    this.open(id);
  }

  open(id) {
    this.shown = this.#conversations.get(id) ?? this.#conversations.create();
    this.#view.show(this.shown);
    this.#view.list();
  }

  /** Another tab has changed a conversation. What is read here is known better here. */
  changedElsewhere(id) {
    if (id === this.shown.id && !this.isBusy) this.open(id);
    else this.#view.list();
  }

  get isBusy() {
    return this.#reading !== undefined;
  }

  /** The answer that is being read in the conversation that is shown. */
  get #reading() {
    return this.#readings.get(this.shown.messages.at(-1));
  }

  isReading(conversation) {
    return this.#readings.has(conversation.messages.at(-1));
  }

  /** False if it could not be sent. */
  send(text) {
    if (!text.trim() || this.isBusy || !this.#settings.check()) return false;
    this.#put({ id: unique(), role: "user", text: text.trim() });
    this.#answer();
    return true;
  }

  /** Replace the message and whatever followed it. */
  resend(message, text) {
    if (!text.trim() || !this.#settings.check()) return;
    this.#cutBefore(message);
    this.send(text);
  }

  /** Another answer in the place of this one. */
  regenerate(answer) {
    if (!this.#settings.check()) return;
    this.#cutBefore(answer);
    this.#answer();
  }

  stop() {
    return this.#reading?.stop();
  }

  /** Returns what `restore` takes. */
  remove(conversation) {
    this.#readings.get(conversation.messages.at(-1))?.stop();
    this.#forget(conversation);
    this.#removed.add(conversation);
    this.#conversations.remove(conversation.id);
    if (conversation === this.shown) this.open();
    else this.#view.list();
    return conversation;
  }

  restore(conversation) {
    this.#removed.delete(conversation);
    this.#conversations.save(conversation);
    this.open(conversation.id);
  }

  #put(message) {
    const { shown } = this;
    shown.messages.push(message);
    if (shown.messages.length === 1) shown.title = message.text.replace(/\s+/g, " ").slice(0, TITLE);
    shown.updated = Date.now();
  }

  #cutBefore(message) {
    this.#reading?.stop();
    this.shown.messages.splice(this.shown.messages.indexOf(message));
  }

  #answer() {
    const body = { ...this.#settings.parameters(), messages: told(this.#settings.system, this.shown.messages) };
    const answer = blank(unique(), unique(), body);
    this.#put(answer);
    this.#read(this.shown, answer, true);
    this.#save(this.shown);
    this.#view.show(this.shown);
    this.#view.list();
  }

  #pickUp(conversation) {
    const last = conversation.messages.at(-1);
    if (last?.state === "open" && !this.#readings.has(last)) this.#read(conversation, last, false);
  }

  async #read(conversation, answer, fresh) {
    const reading = new Reading(this.#server, answer, () => this.#changed(conversation, answer), fresh);
    this.#readings.set(answer, reading);
    try {
      answer.body.model ??= await this.#served.name();
      Object.assign(answer.body, { stream: true, stream_options: { include_usage: true } });
      await reading.run();
    } catch (error) {
      const said = error instanceof Refusal ? error.message : "The server cannot be reached.";
      Object.assign(answer, { state: "failed", error: said });
    }
    this.#readings.delete(answer);
    this.#changed(conversation, answer);
    this.#view.list();
  }

  #changed(conversation, answer) {
    if (!conversation.messages.includes(answer) || this.#removed.has(conversation)) return;
    if (conversation === this.shown) this.#view.update(answer);
    if (answer.state !== "open") this.#save(conversation);
    else if (!this.#unsaved.has(conversation)) {
      this.#unsaved.set(conversation, setTimeout(() => this.#save(conversation), SAVE_MS));
    }
  }

  #save(conversation) {
    this.#forget(conversation);
    this.#conversations.save(conversation);
  }

  #forget(conversation) {
    clearTimeout(this.#unsaved.get(conversation));
    this.#unsaved.delete(conversation);
  }
}

/** The messages as the server wants them: nothing empty, and no two of one role in a row, which some templates refuse. */
function told(system, messages) {
  const all = [{ role: "system", content: system }];
  for (const { role, text } of messages.filter(({ text }) => text)) {
    if (all.at(-1).role === role) all.at(-1).content += `\n\n${text}`;
    else all.push({ role, content: text });
  }
  return system ? all : all.slice(1);
}
