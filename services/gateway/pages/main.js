// Puts the page together: who knows whom, and what the keys do.

import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { Conversations } from "./conversations.js";
import { element, find, write } from "./dom.js";
import { Key } from "./key.js";
import { Scroll } from "./scroll.js";
import { Served } from "./served.js";
import { Server } from "./server.js";
import { Settings } from "./settings.js";
import { Sidebar } from "./sidebar.js";
import { theme } from "./theme.js";
import { toast } from "./toast.js";
import { Transcript } from "./transcript.js";

const OPENED = "sluice.opened"; // the conversation of this tab
const EXAMPLES = ["Tell me a story about a fox.", "What is Sluice?", "What is 7 plus 5?"];

const settings = new Settings(localStorage, find("parameters"));
const server = new Server(new Key(sessionStorage));
const served = new Served(server, find("model"), find("context"));
const conversations = new Conversations(localStorage, (id) => chat.changedElsewhere(id));

const transcript = new Transcript(find("transcript"), {
  regenerate: (answer) => chat.regenerate(answer),
  resend: (message, text) => chat.resend(message, text),
});
const scroll = new Scroll(find("scroll"), find("transcript"), find("jump"));
const composer = new Composer(send, () => chat.stop());
const sidebar = new Sidebar({
  open: (id) => chat.open(id),
  create: () => chat.open(),
  remove: (conversation) => {
    chat.remove(conversation);
    toast("Conversation deleted", () => chat.restore(conversation));
  },
});

const view = {
  show(conversation) {
    find("welcome").hidden = conversation.messages.length > 0;
    transcript.show(conversation);
    served.show(conversation);
    composer.show(chat.isBusy);
    scroll.toEnd();
    if (matchMedia("(hover: hover)").matches) composer.focus(); // elsewhere it would bring up a keyboard
    sessionStorage.setItem(OPENED, conversation.id);
  },
  update(answer) {
    transcript.update(answer);
    if (answer.state === "open") return;
    served.show(chat.shown);
    write(find("status"), { done: "The answer is complete.", stopped: "Stopped." }[answer.state] ?? "");
  },
  list() {
    composer.show(chat.isBusy);
    sidebar.show(conversations.list(), chat.shown, (conversation) => chat.isReading(conversation));
  },
};

const chat = new Chat(conversations, server, served, settings, view);

function send(text) {
  write(find("status"), "");
  return chat.send(text);
}

function toggleSettings(open) {
  const panel = find("settings");
  if (panel.hidden !== open) return false;
  panel.hidden = !open;
  find("open-settings").setAttribute("aria-expanded", String(open));
  (open ? panel.querySelector("textarea") : find("open-settings")).focus();
  return true;
}

function onEscape(event) {
  if (event.key !== "Escape" || event.isComposing || document.querySelector("dialog[open]")) return;
  if (chat.isBusy) chat.stop();
  else if (!toggleSettings(false) && !sidebar.toggle(false)) composer.focus();
}

theme.attach(find("theme"));
find("open-settings").addEventListener("click", () => toggleSettings(find("settings").hidden));
find("close-settings").addEventListener("click", () => toggleSettings(false));
find("examples").append(...EXAMPLES.map((text) => element("button", { type: "button", click: () => send(text) }, text)));
document.addEventListener("keydown", onEscape);
chat.begin(sessionStorage.getItem(OPENED));
served.watch().then(() => served.show(chat.shown));
