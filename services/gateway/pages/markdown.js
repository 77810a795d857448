// Markdown to a tree of blocks, as far as answers use it. Pure: it makes data, and rendering.js makes elements of it. Every
// text is one of some tree, finished or not, and the tree of a longer text begins as that of the shorter one did.

const FENCE = /^( {0,3})(`{3,}|~{3,})\s*([^\s`]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)[\s#]*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])(\s+|$)/;
const DASHES = /^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;
const DEEPEST = 8; // blocks within blocks; what is deeper is text

/** Blocks in order: `{ kind, source, ... }`; two of equal kind and source look the same. */
export function blocks(text, depth = 0) {
  const lines = text.split("\n");
  const found = [];
  for (let at = 0; at < lines.length; ) {
    if (!lines[at].trim()) {
      at++;
      continue;
    }
    const [block, end] = next(lines, at, depth);
    found.push({ ...block, source: lines.slice(at, end).join("\n") });
    at = end;
  }
  return found;
}

/** The block that begins at line `at`, and the line behind it. */
function next(lines, at, depth) {
  const line = lines[at];
  if (FENCE.test(line)) return code(lines, at);
  const heading = HEADING.exec(line);
  if (heading) return [{ kind: "heading", level: heading[1].length, text: heading[2] }, at + 1];
  if (RULE.test(line)) return [{ kind: "rule" }, at + 1];
  if (depth < DEEPEST && QUOTE.test(line)) return quote(lines, at, depth);
  if (depth < DEEPEST && ITEM.test(line)) return list(lines, at, depth);
  if (isTable(lines, at)) return table(lines, at);
  return paragraph(lines, at);
}

function code(lines, at) {
  const [, indent, fence, language] = FENCE.exec(lines[at]);
  const closes = new RegExp(`^ {0,3}${fence[0]}{${fence.length},}\\s*$`);
  const dedent = new RegExp(`^ {0,${indent.length}}`);
  let end = at + 1;
  while (end < lines.length && !closes.test(lines[end])) end++;
  const text = lines.slice(at + 1, end).map((line) => line.replace(dedent, "")).join("\n");
  return [{ kind: "code", language, text }, Math.min(end + 1, lines.length)];
}

function quote(lines, at, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end++;
  const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, "")).join("\n");
  return [{ kind: "quote", blocks: blocks(inner, depth + 1) }, end];
}

function list(lines, at, depth) {
  const [, { length: base }, first] = ITEM.exec(lines[at]);
  const ordered = /\d/.test(first);
  const items = [];
  let end = at;
  for (; end < lines.length; end++) {
    const line = lines[end];
    const mark = ITEM.exec(line);
    const indent = line.search(/\S/);
    if (mark && indent < base + 2) {
      if (/\d/.test(mark[2]) !== ordered || RULE.test(line)) break;
      items.push({ offset: mark[0].length || 2, lines: [line.slice(mark[0].length)] });
    } else if (indent < 0) {
      if (!goesOn(lines, end, base, ordered)) break;
      items.at(-1).lines.push("");
    } else if (indent >= base + 2 || (lines[end - 1].trim() && !begins(line))) {
      items.at(-1).lines.push(line.slice(Math.min(indent, items.at(-1).offset)));
    } else break;
  }
  const inner = items.map((item) => blocks(item.lines.join("\n"), depth + 1));
  return [{ kind: "list", ordered, start: ordered ? parseInt(first, 10) : 1, items: inner }, end];
}

/** Does a list go on behind the blank line `at`? */
function goesOn(lines, at, base, ordered) {
  const line = lines.slice(at, at + 3).find((line) => line.trim());
  if (line === undefined) return false;
  const indent = line.search(/\S/);
  const mark = ITEM.exec(line);
  return indent >= base + 2 || (mark !== null && /\d/.test(mark[2]) === ordered && !RULE.test(line));
}

function isTable(lines, at) {
  return lines[at].includes("|") && at + 1 < lines.length && lines[at + 1].includes("-") && DASHES.test(lines[at + 1]);
}

function table(lines, at) {
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|")) end++;
  const rows = lines.slice(at + 2, end).map(cells);
  return [{ kind: "table", head: cells(lines[at]), rows }, end];
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/\|$/, "");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function paragraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !begins(lines[end]) && !isTable(lines, end)) end++;
  const text = lines.slice(at, end).map((line) => line.trim()).join("\n");
  return [{ kind: "paragraph", text }, end];
}

function begins(line) {
  return [FENCE, HEADING, RULE, QUOTE, ITEM].some((form) => form.test(line));
}
