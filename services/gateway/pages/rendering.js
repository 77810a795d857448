// Markdown as elements, for a text that grows: blocks that have not changed keep their elements, so a selection in them
// holds and nothing blinks. Whatever a model writes is set as text, never as markup.

import { copyButton, element } from "./dom.js";
import { spans } from "./inline.js";
import { blocks } from "./markdown.js";

export class Rendering {
  #root;
  #shown = []; // { block, node }
  #text = null;

  constructor(root) {
    this.#root = root;
  }

  show(text) {
    if (text === this.#text) return;
    this.#text = text;
    const wanted = blocks(text);
    wanted.forEach((block, at) => this.#set(at, block));
    for (const { node } of this.#shown.splice(wanted.length)) node.remove();
  }

  #set(at, block) {
    const shown = this.#shown[at];
    if (shown?.block.kind === block.kind && shown.block.source === block.source) return;
    if (shown && grown(shown, block)) return void (shown.block = block);
    const node = drawn(block);
    if (shown) shown.node.replaceWith(node);
    else this.#root.append(node);
    this.#shown[at] = { block, node };
  }
}

/** A block of code that got longer keeps its elements: it may have been scrolled, and has a button. */
function grown({ block: before, node }, block) {
  if (before.kind !== "code" || block.kind !== "code" || before.language !== block.language) return false;
  const text = node.querySelector("code").firstChild;
  if (!text || !block.text.startsWith(before.text)) return false;
  text.appendData(block.text.slice(before.text.length));
  return true;
}

function drawn(block) {
  switch (block.kind) {
    case "heading":
      return element(`h${Math.min(block.level + 2, 6)}`, {}, ...inside(block.text));
    case "rule":
      return element("hr");
    case "quote":
      return element("blockquote", {}, ...block.blocks.map(drawn));
    case "code":
      return code(block);
    case "list":
      return list(block);
    case "table":
      return table(block);
    default:
      return element("p", {}, ...inside(block.text));
  }
}

function code({ language, text }) {
  const inner = element("code", {}, document.createTextNode(text));
  const head = element("div", { class: "code-head" }, element("span", {}, language), copyButton("Copy the code", () => inner.textContent));
  return element("div", { class: "code" }, head, element("pre", { tabindex: 0 }, inner));
}

function list({ ordered, start, items }) {
  const lines = items.map((inner) => element("li", {}, ...item(inner)));
  return element(ordered ? "ol" : "ul", { start: ordered && start !== 1 ? start : null }, ...lines);
}

/** What begins with a paragraph needs none: the line is the item. */
function item([first, ...rest]) {
  if (!first) return [];
  if (first.kind !== "paragraph") return [first, ...rest].map(drawn);
  return [...inside(first.text), ...rest.map(drawn)];
}

function table({ head, rows }) {
  const row = (tag, cells) => element("tr", {}, ...cells.map((cell) => element(tag, {}, ...inside(cell))));
  const body = rows.map((cells) => row("td", cells.slice(0, head.length)));
  const inner = element("table", {}, element("thead", {}, row("th", head)), element("tbody", {}, ...body));
  return element("div", { class: "table", tabindex: 0 }, inner);
}

function inside(text) {
  return spans(text).map(drawnSpan);
}

const TAGS = { strong: "strong", emphasis: "em", struck: "s" };

function drawnSpan(span) {
  switch (span.kind) {
    case "text":
      return span.text;
    case "line":
      return element("br");
    case "code":
      return element("code", {}, span.text);
    case "link":
      return element("a", { href: span.href, target: "_blank", rel: "noopener noreferrer" }, ...span.spans.map(drawnSpan));
    default:
      return element(TAGS[span.kind], {}, ...span.spans.map(drawnSpan));
  }
}
