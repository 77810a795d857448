// The picture: only what is in sight, and of what is smaller than a pixel one for all.

import * as colours from "./colours.js";
import { RULER } from "./layout.js";
import { firstAfter } from "./trace.js";
import { moment, ticks } from "./units.js";

const MOST_MEASURED = 4096; // texts whose width is remembered
const TICK_PX = 110;
const DIM = 0.28;

export class Drawing {
  #canvas;
  #pen;
  #page = colours.page();
  #widths = new Map();

  constructor(canvas) {
    this.#canvas = canvas;
    this.#pen = canvas.getContext("2d");
  }

  restyle() {
    this.#page = colours.page();
  }

  resize(width, height) {
    const scale = devicePixelRatio || 1;
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    this.#pen.setTransform(scale, 0, 0, scale, 0, 0);
  }

  /** `state`: trace, selected, hovered, bright (a Set or null), range ([from, to] or null). */
  draw(view, layout, state) {
    const pen = this.#pen;
    const full = view.left + view.width;
    pen.globalAlpha = 1;
    pen.fillStyle = this.#page.ground;
    pen.fillRect(0, 0, full, view.height);
    const marks = ticks(view.start, view.end, view.width / TICK_PX, state.trace.window[0]);
    this.#grid(view, marks, state.trace);
    pen.save();
    pen.beginPath();
    pen.rect(view.left, RULER, view.width, view.height);
    pen.clip();
    for (const row of layout.rows) {
      const y = row.y - view.top;
      if (y + row.height > RULER && y < view.height) this.#row(row, y, view, state);
    }
    this.#outline(view, layout, state.hovered, 1);
    this.#outline(view, layout, state.selected, 2);
    pen.restore();
    this.#names(view, layout);
    this.#ruler(view, marks, state.trace);
    if (state.range) this.#range(view, state.range);
  }

  #grid(view, marks, trace) {
    const pen = this.#pen;
    pen.fillStyle = this.#page.line;
    pen.globalAlpha = 0.6;
    for (const at of marks.at) pen.fillRect(Math.round(view.x(at)), RULER, 1, view.height);
    pen.globalAlpha = 0.7;
    pen.fillStyle = this.#page.accent;
    if (trace.now > view.start && trace.now < view.end) pen.fillRect(Math.round(view.x(trace.now)), RULER, 1, view.height);
    pen.globalAlpha = 1;
  }

  #row(row, y, view, state) {
    const levels = row.level < 10 ? row.row.levels.slice(0, 1) : row.row.levels;
    levels.forEach((slices, depth) => this.#level(slices, y + depth * row.level, row.level - 1, view, state));
    if (row.level <= 10) return;
    for (const event of row.row.events) {
      if (event.at >= view.start && event.at <= view.end) this.#event(view.x(event.at), y + row.level, row.level);
    }
  }

  #level(slices, y, height, view, state) {
    const pixel = view.span / view.width;
    let i = firstAfter(slices, view.start);
    while (i < slices.length && slices[i].start < view.end) {
      const slice = slices[i];
      const x = view.x(slice.start);
      if (slice.end - slice.start >= pixel) {
        this.#slice(slice, x, y, Math.min(view.x(slice.end), view.left + view.width) - Math.max(x, view.left), height, view, state);
        i += 1;
        continue;
      }
      // All that ends within this pixel: the picture of the longest, and a gap before anything else.
      const next = Math.max(i + 1, firstAfter(slices, slice.start + pixel));
      let shown = slice;
      const last = Math.min(next, i + 64);
      for (let j = i + 1; j < last; j++) if (weight(slices[j], state) > weight(shown, state)) shown = slices[j];
      this.#fill(shown, x, y, 1, height, state);
      i = next;
    }
  }

  #slice(slice, x, y, width, height, view, state) {
    const pen = this.#pen;
    const left = Math.max(x, view.left);
    this.#fill(slice, left, y, Math.max(1, width - (width > 3 ? 1 : 0)), height, state);
    if (width < 22 || height < 10) return;
    pen.font = `11px ${this.#page.font}`;
    pen.textBaseline = "middle";
    pen.fillStyle = slice.cat === "idle" ? "#fff" : this.#page.text;
    pen.fillText(this.#fitting(slice.name, width - 8), left + 4, y + height / 2 + 0.5);
    pen.globalAlpha = 1;
  }

  /** As much of the text as there is room for. */
  #fitting(text, room) {
    if (this.#widths.size > MOST_MEASURED) this.#widths.clear();
    if (!this.#widths.has(text)) this.#widths.set(text, this.#pen.measureText(text).width);
    const whole = this.#widths.get(text);
    if (whole <= room) return text;
    const letters = Math.floor((room / whole) * text.length) - 2;
    return letters > 1 ? `${text.slice(0, letters)}…` : "";
  }

  #fill(slice, x, y, width, height, state) {
    const pen = this.#pen;
    pen.globalAlpha = !state.bright || state.bright.has(slice) ? 1 : DIM;
    pen.fillStyle = colours.of(slice);
    pen.fillRect(x, y, width, height);
  }

  #event(x, y, height) {
    const pen = this.#pen;
    pen.fillStyle = this.#page.text;
    pen.beginPath();
    pen.moveTo(x, y + 2);
    pen.lineTo(x + 4, y + height / 2);
    pen.lineTo(x, y + height - 3);
    pen.lineTo(x - 4, y + height / 2);
    pen.fill();
  }

  #outline(view, layout, slice, width) {
    const place = slice && layout.placeOf(slice);
    if (!place) return;
    const x = Math.max(view.x(slice.start), view.left - 4);
    const end = Math.min(view.x(slice.end), view.left + view.width + 4);
    this.#pen.strokeStyle = width > 1 ? this.#page.text : this.#page.quiet;
    this.#pen.lineWidth = width;
    this.#pen.strokeRect(x - 0.5, place.y - view.top - 0.5, Math.max(2, end - x), place.height + 1);
  }

  #names(view, layout) {
    const pen = this.#pen;
    pen.fillStyle = this.#page.side;
    pen.fillRect(0, RULER, view.left, view.height);
    pen.fillStyle = this.#page.line;
    pen.fillRect(view.left - 1, 0, 1, view.height);
    pen.textBaseline = "middle";
    for (const one of layout.lanes) this.#laneName(one, view);
    pen.font = `600 12px ${this.#page.font}`;
    for (const { process, y, height } of layout.heads) {
      pen.fillStyle = this.#page.raised;
      pen.fillRect(0, y - view.top, view.left + view.width, height - 2);
      pen.fillStyle = this.#page.text;
      const sign = layout.folded.has(process.name) ? "▸" : "▾";
      pen.fillText(`${sign} ${process.name}`, 8, y - view.top + height / 2 - 1);
    }
  }

  #laneName(one, view) {
    const pen = this.#pen;
    const y = one.y - view.top;
    if (y > view.height || y + one.height < RULER) return;
    pen.font = `11.5px ${this.#page.font}`;
    pen.fillStyle = this.#page.quiet;
    pen.fillText(`${one.folded ? "▸" : "▾"} ${one.lane.name}`, 18, Math.max(y, Math.min(RULER, y + one.height - 18)) + 9);
    pen.fillStyle = this.#page.line;
    pen.fillRect(8, y + one.height + 3, view.left - 16, 1);
  }

  #ruler(view, marks, trace) {
    const pen = this.#pen;
    pen.fillStyle = this.#page.side;
    pen.fillRect(0, 0, view.left + view.width, RULER);
    pen.fillStyle = this.#page.line;
    pen.fillRect(0, RULER - 1, view.left + view.width, 1);
    pen.font = `11px ${this.#page.font}`;
    pen.textBaseline = "middle";
    pen.save();
    pen.beginPath();
    pen.rect(view.left, 0, view.width, RULER);
    pen.clip();
    for (const at of marks.at) {
      pen.fillStyle = this.#page.line;
      pen.fillRect(Math.round(view.x(at)), RULER - 8, 1, 8);
      pen.fillStyle = this.#page.quiet;
      pen.fillText(moment(at, marks.step, trace.window[0]), view.x(at) + 4, RULER / 2);
    }
    pen.restore();
  }

  #range(view, [from, to]) {
    const pen = this.#pen;
    const [left, right] = [from, to].map((at) => Math.max(view.left, view.x(at))).sort((a, b) => a - b);
    pen.globalAlpha = 0.18;
    pen.fillStyle = this.#page.accent;
    pen.fillRect(left, 0, right - left, view.height);
    pen.globalAlpha = 1;
    pen.fillRect(left, 0, 1, view.height);
    pen.fillRect(right, 0, 1, view.height);
  }
}

/** A gap must not vanish among what is busy, nor what is looked for among the rest. */
function weight(slice, state) {
  return (slice.end - slice.start) * (slice.cat === "idle" ? 4 : 1) + (state.bright?.has(slice) ? 1e12 : 0);
}
