// Which time is in sight, and where it lies on the screen.

const LEAST_US = 0.5;
const GLIDE_MS = 180;
const still = matchMedia("(prefers-reduced-motion: reduce)");

export class View {
  start = 0;
  end = 1e6;
  left = 150; // pixels of names
  width = 800; // pixels of time
  height = 400;
  top = 0; // pixels scrolled
  content = 0; // pixels of all lanes
  bounds = [0, 1e6];
  #glide = 0;
  #goal = null; // where a glide leads

  constructor(changed) {
    this.changed = changed;
  }

  get span() {
    return this.end - this.start;
  }

  /** What is in sight, or will be in a moment. */
  get goal() {
    return this.#goal ?? [this.start, this.end];
  }

  x(time) {
    return this.left + ((time - this.start) / this.span) * this.width;
  }

  time(x) {
    return this.start + ((x - this.left) / this.width) * this.span;
  }

  resize(width, height) {
    this.left = width < 640 ? 92 : 168;
    this.width = Math.max(50, width - this.left);
    this.height = height;
    this.scroll(0);
  }

  /** `factor` below 1 goes nearer; what is at `x` stays there. */
  zoom(factor, x = this.left + this.width / 2) {
    const at = this.time(x);
    const most = (this.bounds[1] - this.bounds[0]) * 1.5 + 1e4;
    const span = Math.min(most, Math.max(LEAST_US, this.span * factor));
    const start = at - ((x - this.left) / this.width) * span;
    this.set(start, start + span);
  }

  pan(pixels) {
    const by = (pixels / this.width) * this.span;
    this.set(this.start + by, this.end + by);
  }

  scroll(pixels) {
    this.top = Math.max(0, Math.min(this.top + pixels, this.content - this.height));
    this.changed();
  }

  /** At once. Some of what there is stays in sight. */
  set(start, end) {
    cancelAnimationFrame(this.#glide);
    this.#goal = null;
    this.#set(start, end);
  }

  /** The same, so that the eye can follow. */
  go(start, end) {
    cancelAnimationFrame(this.#glide);
    const span = Math.max(LEAST_US, end - start);
    this.#goal = still.matches ? null : [start, start + span];
    if (still.matches) return this.#set(start, start + span);
    const [from, to, began] = [this.start, this.end, performance.now()];
    const frame = (now) => {
      const part = Math.min(1, Math.max(0, (now - began) / GLIDE_MS));
      const eased = 1 - (1 - part) ** 3;
      this.#set(from + (start - from) * eased, to + (start + span - to) * eased);
      if (part < 1) this.#glide = requestAnimationFrame(frame);
      else this.#goal = null;
    };
    this.#glide = requestAnimationFrame(frame);
  }

  /** With some room on both sides. */
  around(start, end) {
    const room = Math.max((end - start) * 0.08, 1);
    this.go(start - room, end + room);
  }

  /** A row whose top and bottom are these comes into sight. */
  reveal(top, bottom, head) {
    if (top - this.top < head) this.scroll(top - this.top - head);
    else if (bottom - this.top > this.height) this.scroll(bottom - this.top - this.height + 8);
  }

  #set(start, end) {
    const span = end - start;
    const [first, last] = this.bounds;
    const least = first - span * 0.9;
    const most = last + span * 0.9;
    const moved = start < least ? least - start : end > most ? most - end : 0;
    this.start = start + moved;
    this.end = this.start + span;
    this.changed();
  }
}
