// The newest line stays in sight while somebody looks at it, and nothing moves for those who have scrolled up.

const NEAR = 8; // pixels from the end that count as its end

export class Scroll {
  #area;
  #jump;
  #follows = true;
  #top = 0;

  /** `content` grows in `area`; `jump` is the button that leads back to the end. */
  constructor(area, content, jump) {
    this.#area = area;
    this.#jump = jump;
    area.addEventListener("scroll", () => this.#moved(), { passive: true });
    jump.addEventListener("click", () => this.toEnd());
    const grown = new ResizeObserver(() => this.#grown());
    grown.observe(content);
    grown.observe(area);
  }

  toEnd() {
    this.#follows = true;
    this.#grown();
  }

  get #rest() {
    return this.#area.scrollHeight - this.#area.clientHeight - this.#area.scrollTop;
  }

  #moved() {
    const up = this.#area.scrollTop < this.#top - 1;
    this.#top = this.#area.scrollTop;
    if (this.#rest <= NEAR) this.#follows = true;
    else if (up) this.#follows = false;
    this.#show();
  }

  #grown() {
    if (this.#follows) this.#area.scrollTop = this.#area.scrollHeight;
    this.#top = this.#area.scrollTop;
    this.#show();
  }

  #show() {
    this.#jump.hidden = this.#follows || this.#rest <= NEAR;
  }
}
