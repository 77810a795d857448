// The list of conversations; on a narrow screen a drawer.

import { element, find, iconButton } from "./dom.js";

export class Sidebar {
  #list = find("conversations");
  #open = find("open-sidebar");
  #actions;

  /** `open(id)`, `create()`, `remove(conversation)`. */
  constructor(actions) {
    this.#actions = actions;
    find("new-chat").addEventListener("click", () => this.#leave(actions.create));
    this.#open.addEventListener("click", () => this.toggle(true));
    find("close-sidebar").addEventListener("click", () => this.toggle(false));
    find("scrim").addEventListener("click", () => this.toggle(false));
  }

  /** True if that changed anything. */
  toggle(open) {
    const was = document.body.classList.contains("sidebar-open");
    document.body.classList.toggle("sidebar-open", open);
    this.#open.setAttribute("aria-expanded", String(open));
    if (was !== open) (open ? find("new-chat") : this.#open).focus();
    return was !== open;
  }

  /** `coming(conversation)`: is an answer on its way in it? */
  show(conversations, shown, coming) {
    const focused = this.#list.contains(document.activeElement);
    this.#list.replaceChildren(...conversations.map((one) => this.#line(one, one.id === shown.id, coming(one))));
    if (focused) (this.#list.querySelector("[aria-current]") ?? find("new-chat")).focus();
  }

  #line(conversation, current, coming) {
    const title = conversation.title || "Untitled";
    const open = () => this.#leave(() => this.#actions.open(conversation.id));
    const name = element("button", { type: "button", title, click: open, "aria-current": current && "page" }, title);
    const remove = iconButton("remove", `Delete: ${title}`, () => this.#actions.remove(conversation));
    return element("li", { class: coming ? "coming" : null }, name, remove);
  }

  #leave(act) {
    act();
    document.body.classList.remove("sidebar-open");
    this.#open.setAttribute("aria-expanded", "false");
  }
}
