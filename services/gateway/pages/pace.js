// How fast an answer comes, as far as it was seen: time to first token, and tokens a second since a connection began.

const LEAST_MS = 50; // before which a rate means nothing

export class Pace {
  #asked;
  #from = null;

  /** `asked`: when the question was sent, on the clock of `performance.now()`; null if that was another page's life. */
  constructor(asked) {
    this.#asked = asked;
  }

  /** A connection begins: what comes first on it may have waited, so it is not counted. */
  connected() {
    this.#from = null;
  }

  /** `tokens` of the answer are here. Fills in `answer.firstMs` and `answer.rate` where they can be known. */
  saw(answer, tokens, now) {
    if (answer.firstMs == null && this.#asked != null && this.#from === null) answer.firstMs = now - this.#asked;
    this.#asked = null;
    this.#from ??= { tokens, now };
    const elapsed = now - this.#from.now;
    if (elapsed >= LEAST_MS) answer.rate = ((tokens - this.#from.tokens) * 1000) / elapsed;
  }
}

/** What was measured, in words. */
export function figures({ tokens, rate, firstMs }) {
  const parts = [];
  if (tokens) parts.push(tokens === 1 ? "1 token" : `${tokens} tokens`);
  if (rate) parts.push(`${rate < 100 ? rate.toFixed(1) : Math.round(rate)} tokens/s`);
  if (firstMs != null) parts.push(`first token ${(firstMs / 1000).toFixed(2)} s`);
  return parts.join(" · ");
}
