// Puts the page together: what is looked at, what is selected, and what a wish does to both.

import { Details } from "./details.js";
import { Drawing } from "./drawing.js";
import * as keyboard from "./keyboard.js";
import { Layout, RULER } from "./layout.js";
import { legend } from "./legend.js";
import { Looking } from "./looking.js";
import * as pointer from "./pointer.js";
import { isRequest, matches, rootOf } from "./search.js";
import { attach } from "./theme.js";
import { tip } from "./tip.js";
import { longestGap, Trace } from "./trace.js";
import { View } from "./view.js";

const EMPTY = { base_s: Math.floor(Date.now() / 1000), now_us: 0, seconds: 10, cut: 0, services: [], request: null };
const find = (id) => document.getElementById(id);

const canvas = find("lanes");
const layout = new Layout();
const drawing = new Drawing(canvas);
const view = new View(() => draw());
const details = new Details(find("details"), (slice) => (slice ? visit(slice) : select(null)));
const state = { trace: new Trace({ traceEvents: [], otherData: EMPTY }), selected: null, hovered: null, bright: null, range: null };
let found = [];
let foundAt = -1;
let wanted = ""; // the digest of the request that is looked for
let frame = 0;

function draw() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    drawing.draw(view, layout, state);
    legend(find("legend"), state.trace, view);
  });
}

// ---- what is looked at

const looking = new Looking(find("seconds"), find("live"), { trace: (document) => show(new Trace(document)), failed: note });

function show(trace) {
  const before = state.trace;
  const first = !before.slices.length;
  const ends = before.window[1];
  state.trace = trace;
  state.hovered = null;
  tip(find("tip"), null);
  layout.build(trace);
  view.content = layout.height;
  view.bounds = [trace.start, trace.end];
  if (first) view.set(...trace.window);
  else if (looking.live && !state.selected && view.end >= ends - view.span * 0.05) {
    const by = trace.window[1] - ends; // who looks at the end stays there
    view.set(view.start + by, view.end + by);
  }
  select(again(state.selected), true);
  complain(trace);
  search(false);
}

/** The same slice of a newer trace. */
function again(slice) {
  if (!slice) return null;
  const alike = (one) => one.cat === slice.cat && one.name === slice.name;
  const mine = (one) => alike(one) && (one.args.span_id ?? one.args.step_id) === (slice.args.span_id ?? slice.args.step_id);
  const near = (one) => mine(one) && one.row.lane.process.name === slice.row.lane.process.name && one.args.parent_id === slice.args.parent_id;
  return state.trace.slices.find(near) ?? null;
}

function complain(trace) {
  const wrong = trace.services.filter((one) => one.problem).map((one) => `${one.process}: ${one.problem}`);
  if (trace.cut) wrong.push(`${trace.cut} older spans had no room`);
  note(wrong.join(" · "));
  find("empty").hidden = trace.slices.length > 0;
  find("empty").textContent = `No service told of anything in the last ${trace.seconds} s. Ask it something, and look here again.`;
}

function note(text) {
  find("note").hidden = !text;
  find("note").textContent = text;
}

// ---- what is selected

function select(slice, quietly = false) {
  state.selected = slice;
  state.bright = slice ? state.trace.related(slice) : found.length && foundAt >= 0 ? new Set(found) : null;
  details.show(slice, state.trace);
  if (!quietly) looking.setLive(looking.live && !slice); // what somebody reads does not run away
  resize();
}

function visit(slice, zooms = false) {
  select(slice);
  layout.unfold(slice, state.trace);
  view.content = layout.height;
  const place = layout.placeOf(slice);
  view.reveal(place.y, place.y + place.height, RULER + 24);
  const [start, end] = view.goal;
  const inSight = slice.start < end && slice.end > start && (slice.end - slice.start) / (end - start) > 0.004;
  if (zooms || !inSight) view.around(...(zooms ? [slice.start, slice.end] : near(slice)));
}

/** A slice and a bit of what is around it. */
function near(slice) {
  const room = Math.max((slice.end - slice.start) * 2, 50);
  return [slice.start - room, slice.end + room];
}

function neighbour(by) {
  const slices = state.selected?.row.levels[state.selected.depth];
  const next = slices?.[slices.indexOf(state.selected) + by];
  if (next) visit(next);
}

function widest() {
  const gap = longestGap(state.trace.device, view.start, view.end);
  if (gap) visit(gap);
}

// ---- search

async function search(goes, by = 1) {
  const words = find("words").value.trim();
  if (goes && isRequest(words)) return request(words);
  const moved = words !== search.words;
  search.words = words;
  const newer = search.trace !== state.trace;
  search.trace = state.trace;
  if (moved || newer) found = wanted && !words ? [] : matches(state.trace, words);
  if (moved) foundAt = -1;
  if (goes && found.length) {
    foundAt = (foundAt + by + found.length) % found.length;
    visit(found[foundAt]);
  }
  foundAt = Math.min(foundAt, found.length - 1);
  find("matches").textContent = words ? (found.length ? `${foundAt < 0 ? "" : `${foundAt + 1} of `}${found.length}` : "none") : "";
}

/** The request with this X-Request-Id: who has the address afterwards has its digest only. */
async function request(id) {
  find("words").value = "";
  await looking.load(id);
  const told = state.trace.request;
  if (!told) return;
  wanted = told.digest;
  history.replaceState(null, "", `?digest=${wanted}`);
  look();
}

function look() {
  const root = rootOf(state.trace, wanted);
  if (!root) return note(`That request did nothing in the last ${state.trace.seconds} s, as far as the services remember. Look further back.`);
  looking.setLive(false);
  visit(root, true);
}

// ---- wishes

function resize() {
  const { width, height } = find("stage").getBoundingClientRect();
  view.resize(width, height);
  drawing.resize(width, height);
  draw();
}

const fit = () => view.go(...state.trace.window);
const chosen = () => state.selected && view.around(state.selected.start, state.selected.end);

pointer.listen(canvas, view, {
  hover(x, y) {
    const slice = x > view.left && y > RULER ? layout.sliceAt(y + view.top, view, x) : null;
    canvas.style.cursor = slice || (x < view.left && layout.nameAt(y + view.top)) ? "pointer" : y < RULER ? "col-resize" : "";
    if (slice !== state.hovered) draw();
    state.hovered = slice;
    tip(find("tip"), slice, x, y);
  },
  leave() {
    state.hovered = null;
    tip(find("tip"), null);
    draw();
  },
  click(x, y) {
    const name = x < view.left ? layout.nameAt(y + view.top) : null;
    if (name && y > RULER) {
      layout.toggle(name, state.trace);
      view.content = layout.height;
      view.scroll(0);
    } else select(y > RULER ? layout.sliceAt(y + view.top, view, x) : null);
  },
  range(from, to, done) {
    state.range = done ? null : [from, to];
    if (done) view.go(Math.min(from, to), Math.max(from, to));
    draw();
  },
});

keyboard.listen({
  " ": () => looking.setLive(!looking.live),
  "+": () => view.zoom(0.7),
  "=": () => view.zoom(0.7),
  w: () => view.zoom(0.7),
  "-": () => view.zoom(1.43),
  s: () => view.zoom(1.43),
  0: fit,
  f: fit,
  z: chosen,
  g: widest,
  ",": () => neighbour(-1),
  ".": () => neighbour(1),
  ArrowLeft: () => view.pan(-view.width / 8),
  a: () => view.pan(-view.width / 8),
  ArrowRight: () => view.pan(view.width / 8),
  d: () => view.pan(view.width / 8),
  ArrowUp: () => view.scroll(-60),
  ArrowDown: () => view.scroll(60),
  "/": () => find("words").focus(),
  "?": () => find("keys").showModal(),
  Escape: () => select(null),
});

find("seconds").addEventListener("change", async () => {
  await looking.anew();
  fit();
});
find("in").addEventListener("click", () => view.zoom(0.6));
find("out").addEventListener("click", () => view.zoom(1.67));
find("fit").addEventListener("click", fit);
find("download").addEventListener("click", () => looking.save());
find("help").addEventListener("click", () => find("keys").showModal());
find("words").addEventListener("input", () => search(false));
find("words").addEventListener("keydown", (event) => {
  if (event.key === "Escape") canvas.focus();
  if (event.key === "Enter" && event.shiftKey) {
    event.preventDefault();
    search(true, -1);
  }
});
find("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search(true);
});
attach(find("theme"), () => {
  drawing.restyle();
  draw();
});
new ResizeObserver(resize).observe(find("stage"));

const asked = new URLSearchParams(location.search);
if (/^(2|5|10|30|60|300)$/.test(asked.get("seconds") ?? "")) find("seconds").value = asked.get("seconds");
if (asked.get("request")) await request(asked.get("request"));
else if (asked.get("digest")) {
  wanted = asked.get("digest");
  await looking.load();
  look();
} else await looking.load();
looking.run();
