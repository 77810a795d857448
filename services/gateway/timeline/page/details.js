// What is known of one slice, with buttons that lead to what belongs to it. Text is only ever text.

import * as colours from "./colours.js";
import { clock, duration } from "./units.js";

const OURS = new Set(["span_id", "trace_id", "parent_id", "step_id", "steps", "requests", "error", "cause"]);
const MOST = 24; // buttons of a kind

export class Details {
  #place;
  #go;

  /** `go(slice)` leads there; `go(null)` closes. */
  constructor(place, go) {
    this.#place = place;
    this.#go = go;
  }

  show(slice, trace) {
    this.#place.hidden = !slice;
    if (!slice) return this.#place.replaceChildren();
    const whole = slice.args.trace_id ? slice : (trace.parent(slice) ?? slice);
    this.#place.replaceChildren(
      this.#head(slice),
      ...this.#facts(slice, trace),
      ...this.#links("Belongs to", [trace.parent(slice)]),
      ...this.#links("Parts", trace.children.get(slice.args.span_id) ?? []),
      ...this.#links("Steps", named(trace, trace.stepsOf(whole))),
      ...this.#links("Requests", named(trace, whole.args.requests)),
      ...this.#events(slice),
      ...this.#table(whole),
    );
  }

  #head(slice) {
    const close = made("button", "×");
    close.type = "button";
    close.setAttribute("aria-label", "Close");
    close.addEventListener("click", () => this.#go(null));
    const head = made("header");
    head.append(made("h2", slice.name), close);
    return head;
  }

  #facts(slice, trace) {
    const where = `${slice.row.lane.process.name} · ${slice.row.lane.name}`;
    const time = `${duration(slice.end - slice.start)}, from ${clock(trace.unix, slice.start)} UTC`;
    const facts = [made("p", time, "time"), made("p", where, "time")];
    if (slice.cat === "idle") facts.push(made("p", `The device was idle: ${colours.about(slice.args.cause)}.`, "time"));
    if (slice.args.error) facts.push(made("p", slice.args.error, "error"));
    return facts;
  }

  #links(title, slices) {
    const found = slices.filter(Boolean);
    if (!found.length) return [];
    const place = made("div", "", "links");
    for (const slice of found.slice(0, MOST)) {
      const button = made("button", `${slice.name} · ${duration(slice.end - slice.start)}`);
      button.type = "button";
      button.addEventListener("click", () => this.#go(slice));
      place.append(button);
    }
    if (found.length > MOST) place.append(made("span", `and ${found.length - MOST} more`));
    return [made("h3", found.length > 1 ? `${title} (${found.length})` : title), place];
  }

  #events(slice) {
    const events = slice.row.events.filter((event) => event.args.span_id === slice.args.span_id);
    if (!events.length) return [];
    return [made("h3", "Moments"), table(events.map((event) => [event.name, `+${duration(event.at - slice.start)}`]))];
  }

  #table(slice) {
    const rows = Object.entries(slice.args).filter(([name]) => !OURS.has(name));
    const ids = ["trace_id", "span_id"].filter((name) => slice.args[name]).map((name) => [name, slice.args[name]]);
    return [made("h3", "Attributes"), table([...rows, ...ids])];
  }
}

const named = (trace, ids) => (ids ?? []).map((id) => trace.byId.get(id));

function table(rows) {
  const place = made("table");
  for (const [name, value] of rows) {
    const row = made("tr");
    row.append(breakable(name), made("td", Array.isArray(value) ? value.join(", ") : String(value)));
    place.append(row);
  }
  return place;
}

/** A name that breaks between its words. */
function breakable(name) {
  const place = made("td");
  for (const part of name.split(/(?<=\.|_(?=\w{3}))/)) place.append(part, document.createElement("wbr"));
  return place;
}

function made(tag, text = "", kind = "") {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  if (kind) element.className = kind;
  return element;
}
