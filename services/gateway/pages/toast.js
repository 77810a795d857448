// A line that says what has been done, and undoes it.

import { element, find } from "./dom.js";

const SHOWN_MS = 7000;
let timer = 0;

export function toast(text, undo) {
  const place = find("toast");
  const hide = () => (place.hidden = true);
  const click = () => {
    hide();
    undo();
  };
  clearTimeout(timer);
  place.replaceChildren(element("span", {}, text), element("button", { type: "button", click }, "Undo"));
  place.hidden = false;
  timer = setTimeout(hide, SHOWN_MS);
}
