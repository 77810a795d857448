// The inside of a line of Markdown: strong, emphasis, code, links. Pure: text to a tree of spans.

const LONGEST = 1000; // characters of one span: looking for an end takes no longer
const DEEPEST = 6;
const SOME = `[^]{0,${LONGEST}}?`;
const FORMS = [
  /\\(?<escaped>[\\`*_{}[\]()#+\-.!~|>])/,
  new RegExp(`(?<!\`)(?<ticks>\`{1,4})(?!\`)(?<code>${SOME}[^\`])\\k<ticks>(?!\`)`),
  new RegExp(`\\*\\*(?=\\S)(?<strong>${SOME}[^\\s])\\*\\*(?!\\*)`),
  new RegExp(`(?<!\\w)__(?=\\S)(?<strong_>${SOME}[^\\s])__(?!\\w)`),
  new RegExp(`\\*(?=[^\\s*])(?<emphasis>${SOME}[^\\s*])\\*(?!\\*)`),
  new RegExp(`(?<!\\w)_(?=[^\\s_])(?<emphasis_>${SOME}[^\\s_])_(?!\\w)`),
  new RegExp(`~~(?=\\S)(?<struck>${SOME}\\S)~~`),
  new RegExp(`\\[(?<label>[^[\\]]{1,${LONGEST}})\\]\\((?<href>[^\\s()]{1,${LONGEST}})(?:\\s+"[^"]{0,${LONGEST}}")?\\)`),
  new RegExp(`(?<url>https?:\\/\\/[^\\s<>"]{1,${LONGEST}}[^\\s<>"'.,:;!?)\\]*_])`),
  /(?<line>\n)/,
];
const SPAN = new RegExp(FORMS.map((form) => form.source).join("|"), "g");

/** Spans in order: `{ kind, text }` or `{ kind, spans }`, links with `href`. */
export function spans(text, depth = 0) {
  if (depth > DEEPEST) return [{ kind: "text", text }];
  const found = [];
  let from = 0;
  for (const match of text.matchAll(SPAN)) {
    if (match.index > from) found.push({ kind: "text", text: text.slice(from, match.index) });
    found.push(span(match.groups, match[0], depth + 1));
    from = match.index + match[0].length;
  }
  if (from < text.length) found.push({ kind: "text", text: text.slice(from) });
  return found;
}

function span(groups, whole, depth) {
  const strong = groups.strong ?? groups.strong_;
  const emphasis = groups.emphasis ?? groups.emphasis_;
  if (groups.escaped) return { kind: "text", text: groups.escaped };
  if (groups.code !== undefined) return { kind: "code", text: groups.code.replace(/^ (.*\S.*) $/, "$1") };
  if (strong) return { kind: "strong", spans: spans(strong, depth) };
  if (emphasis) return { kind: "emphasis", spans: spans(emphasis, depth) };
  if (groups.struck) return { kind: "struck", spans: spans(groups.struck, depth) };
  if (groups.label) return link(groups.href, spans(groups.label, depth), whole);
  if (groups.url) return { kind: "link", href: groups.url, spans: [{ kind: "text", text: groups.url }] };
  return { kind: "line" };
}

/** Only to where a browser can do no more than go; anything else stays the text that it is. */
function link(href, inner, whole) {
  return /^(https?:\/\/|mailto:)/i.test(href) ? { kind: "link", href, spans: inner } : { kind: "text", text: whole };
}
