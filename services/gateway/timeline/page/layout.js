// Where processes, lanes and rows lie, from the top; and what lies under the pointer.

import { firstAfter } from "./trace.js";

export const RULER = 26;
const HEAD = 24;
const LEVEL = 17;
const DENSE = 10; // where there are MANY rows: no text, but twice as much in sight
const MANY = 20;
const GAP = 3;
const LANE_GAP = 7;
const NEAR_PX = 2;

export class Layout {
  folded = new Set(); // names of processes and of lanes in them
  heads = []; // of processes
  lanes = [];
  rows = [];
  height = 0;

  build(trace) {
    this.heads = [];
    this.lanes = [];
    this.rows = [];
    let y = RULER;
    for (const process of trace.processes) {
      this.heads.push({ process, y, height: HEAD });
      y += HEAD;
      if (this.folded.has(process.name)) continue;
      for (const lane of process.lanes) y = this.#lane(process, lane, y);
    }
    this.height = y + 12;
  }

  /** The process or lane whose name is at `y`. */
  nameAt(y) {
    const inside = (one) => y >= one.y && y < one.y + one.height;
    const head = this.heads.find(inside);
    return head ? head.process.name : this.lanes.find(inside)?.key;
  }

  toggle(key, trace) {
    if (!this.folded.delete(key)) this.folded.add(key);
    this.build(trace);
  }

  /** A slice must be seen to be shown. */
  unfold(slice, trace) {
    const { lane } = slice.row;
    const shut = [lane.process.name, `${lane.process.name} ${lane.name}`].filter((key) => this.folded.delete(key));
    if (shut.length) this.build(trace);
  }

  placeOf(slice) {
    const row = this.rows.find((one) => one.row === slice.row);
    return row && { y: row.y + slice.depth * row.level, height: row.level - 1 };
  }

  sliceAt(y, view, x) {
    const row = this.rows.find((one) => y >= one.y && y < one.y + one.height);
    if (!row) return null;
    const depth = Math.floor((y - row.y) / row.level);
    const slices = row.row.levels[depth] ?? [];
    const near = (NEAR_PX / view.width) * view.span;
    const time = view.time(x);
    const first = slices[firstAfter(slices, time - near)];
    return first && first.start <= time + near ? first : null;
  }

  #lane(process, lane, y) {
    const key = `${process.name} ${lane.name}`;
    const folded = this.folded.has(key);
    const top = y;
    const level = folded ? 4 : lane.rows.length > MANY ? DENSE : LEVEL;
    for (const row of lane.rows) {
      const height = Math.max(1, folded ? 1 : row.levels.length) * level;
      this.rows.push({ row, y, height, level });
      y += height + (folded ? 0 : GAP);
    }
    y = Math.max(y, top + LEVEL + GAP);
    this.lanes.push({ lane, key, folded, y: top, height: y - top });
    return y + LANE_GAP;
  }
}
