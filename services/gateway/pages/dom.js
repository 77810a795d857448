// Elements in few words. Text is only ever text: nothing here or elsewhere on the page turns a string into markup.

const SVG = "http://www.w3.org/2000/svg";

/** One element; a function among the attributes listens to the event of that name, `false` and `null` leave one out. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

export function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `assets/icons.svg#${name}`);
  drawing.append(use);
  return drawing;
}

/** A button that shows a picture and has a name for those who do not see it. */
export function iconButton(name, label, click) {
  return element("button", { type: "button", class: "icon", "aria-label": label, title: label, click }, icon(name));
}

/** A button that copies what `text()` says, and shows for a moment that it did. */
export function copyButton(label, text) {
  const made = iconButton("copy", label, async () => {
    await copy(text());
    made.replaceChildren(icon("done"));
    setTimeout(() => made.replaceChildren(icon("copy")), 1500);
  });
  return made;
}

export const find = (id) => document.getElementById(id);

/** Sets text only where it differs: an equal one would still end a selection. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Plain http from another machine has no clipboard.
  const field = element("textarea", { class: "unseen" });
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}
