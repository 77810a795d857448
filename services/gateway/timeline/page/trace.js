// A trace as something to draw: processes, their lanes, rows of slices, and who belongs to whom. Times are microseconds
// since the first trace's base, so that those of a later one go on where this one ends.

let origin = null; // seconds

const IDLE = "idle";

export class Trace {
  constructor(document) {
    const other = document.otherData;
    origin ??= other.base_s;
    this.shift = (other.base_s - origin) * 1e6;
    this.unix = origin; // seconds, of time 0
    this.now = other.now_us + this.shift;
    this.seconds = other.seconds;
    this.cut = other.cut;
    this.request = other.request;
    this.services = other.services;
    this.slices = [];
    this.byId = new Map(); // span id -> the slice that tells of it
    this.children = new Map();
    this.processes = this.#built(document.traceEvents);
    this.start = this.slices.reduce((least, one) => Math.min(least, one.start), this.now);
    this.end = this.slices.reduce((most, one) => Math.max(most, one.end), this.now);
  }

  /** All devices' busy and idle slices. */
  get device() {
    return this.processes.flatMap((p) => p.lanes.filter((l) => l.name === "device").flatMap((l) => l.rows));
  }

  /** Where a look begins: the asked time, though a span may have begun long before. */
  get window() {
    const start = Math.max(this.start, this.now - this.seconds * 1e6);
    return this.slices.length ? [start, Math.max(this.end, start + 1000)] : [this.now - this.seconds * 1e6, this.now];
  }

  parent(slice) {
    const id = slice.args.parent_id ?? slice.args.step_id ?? (slice.cat === "bus" ? slice.args.span_id : undefined);
    const found = this.byId.get(id);
    return found === slice ? undefined : found;
  }

  /** Everything that has to do with it: its trace, and the steps or requests beside it. */
  related(slice) {
    const around = new Set([slice]);
    const whole = slice.args.trace_id ? slice : (this.parent(slice) ?? slice);
    const ids = new Set([whole.args.span_id, ...(whole.args.steps ?? []), ...(whole.args.requests ?? [])]);
    const traces = new Set([whole.args.trace_id]);
    if (whole.cat === "request") {
      for (const one of this.slices) {
        if (traces.has(one.args.trace_id)) for (const step of one.args.steps ?? []) ids.add(step);
      }
    }
    for (const one of this.slices) {
      const { span_id, step_id, parent_id, trace_id } = one.args;
      const near = ids.has(span_id) || ids.has(step_id) || (one.cat === "phase" && ids.has(parent_id));
      if (near || (trace_id && traces.has(trace_id))) around.add(one);
    }
    return around;
  }

  /** Ids of the steps that a request ran in, whichever of its spans tells of them. */
  stepsOf(slice) {
    if (slice.args.steps || slice.cat !== "request") return slice.args.steps ?? [];
    const own = this.slices.filter((one) => one.args.trace_id === slice.args.trace_id);
    return [...new Set(own.flatMap((one) => one.args.steps ?? []))];
  }

  #built(events) {
    const processes = new Map();
    const rows = new Map();
    for (const event of events) {
      if (event.name === "process_name" && event.ph === "M") {
        processes.set(event.pid, { name: event.args.name, kind: event.args.kind, lanes: [] });
      } else if (event.name === "thread_name" && event.ph === "M") {
        rows.set(`${event.pid} ${event.tid}`, this.#row(processes.get(event.pid), event.args.lane));
      } else if (event.ph === "X") {
        this.#slice(event, rows.get(`${event.pid} ${event.tid}`));
      } else if (event.ph === "i") {
        rows.get(`${event.pid} ${event.tid}`).events.push({ name: event.name, at: event.ts + this.shift, args: event.args });
      }
    }
    for (const row of rows.values()) level(row);
    return [...processes.values()];
  }

  #row(process, name) {
    let lane = process.lanes.find((one) => one.name === name);
    if (!lane) process.lanes.push((lane = { name, process, rows: [] }));
    const row = { lane, slices: [], events: [], levels: [] };
    lane.rows.push(row);
    return row;
  }

  #slice(event, row) {
    const start = event.ts + this.shift;
    const slice = { name: event.name, cat: event.cat, start, end: start + event.dur, args: event.args ?? {}, row, depth: 0 };
    row.slices.push(slice);
    this.slices.push(slice);
    const { span_id, parent_id, trace_id } = slice.args;
    if (span_id && (trace_id || !this.byId.has(span_id))) this.byId.set(span_id, slice);
    if (parent_id) {
      if (!this.children.has(parent_id)) this.children.set(parent_id, []);
      this.children.get(parent_id).push(slice);
    }
  }
}

/** Slices that lie in others go a level down; those of a level never overlap, so that a search finds the first in sight. */
function level(row) {
  row.slices.sort((a, b) => a.start - b.start || b.end - a.end);
  const around = [];
  for (const slice of row.slices) {
    while (around.length && around.at(-1) <= slice.start + 0.0005) around.pop();
    slice.depth = around.length;
    (row.levels[slice.depth] ??= []).push(slice);
    around.push(slice.end);
  }
}

/** The index of the first slice of a level that ends behind `time`. */
export function firstAfter(slices, time) {
  let low = 0;
  let high = slices.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (slices[middle].end > time) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** What devices did between two moments: microseconds busy, and idle by cause. */
export function usage(rows, start, end) {
  const idle = new Map();
  let busy = 0;
  for (const row of rows) {
    const slices = row.levels[0] ?? [];
    for (let i = firstAfter(slices, start); i < slices.length && slices[i].start < end; i++) {
      const took = Math.min(slices[i].end, end) - Math.max(slices[i].start, start);
      if (slices[i].cat === IDLE) idle.set(slices[i].args.cause, (idle.get(slices[i].args.cause) ?? 0) + took);
      else busy += took;
    }
  }
  return { busy, idle };
}

export function longestGap(rows, start, end) {
  let longest = null;
  for (const row of rows) {
    const slices = row.levels[0] ?? [];
    for (let i = firstAfter(slices, start); i < slices.length && slices[i].start < end; i++) {
      const longer = !longest || slices[i].end - slices[i].start > longest.end - longest.start;
      if (slices[i].cat === IDLE && longer) longest = slices[i];
    }
  }
  return longest;
}
