// The messages of the conversation that is shown. One that stays keeps its elements, so nothing blinks.

import { AnswerView } from "./answer_view.js";
import { QuestionView } from "./question_view.js";

export class Transcript {
  #place;
  #actions;
  #views = new Map(); // by message, in order

  /** `actions`: `regenerate(answer)`, `resend(message, text)`. */
  constructor(place, actions) {
    this.#place = place;
    this.#actions = actions;
  }

  show(conversation) {
    const views = conversation.messages.map((message) => [message, this.#views.get(message) ?? this.#view(message)]);
    this.#views = new Map(views);
    this.#place.replaceChildren(...[...this.#views.values()].map((view) => view.root));
    for (const message of conversation.messages) this.update(message);
  }

  update(message) {
    const last = message === [...this.#views.keys()].at(-1);
    this.#views.get(message)?.show(message, last);
  }

  #view(message) {
    return message.role === "user" ? new QuestionView(message, this.#actions) : new AnswerView(message, this.#actions);
  }
}
