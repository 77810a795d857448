// Microseconds for people.

export function duration(us) {
  const size = Math.abs(us);
  if (size < 1) return `${(us * 1000).toFixed(0)} ns`;
  if (size < 1000) return `${digits(us)} µs`;
  if (size < 1e6) return `${digits(us / 1000)} ms`;
  return `${digits(us / 1e6)} s`;
}

function digits(value) {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

/** Moments for a ruler: about `most` of them, at round distances from `zero`. */
export function ticks(start, end, most, zero) {
  const least = (end - start) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= least);
  const found = [];
  for (let n = Math.ceil((start - zero) / step); zero + n * step <= end; n++) found.push(zero + n * step);
  return { step, at: found };
}

/** A moment on a ruler whose marks are `step` apart; `zero` is its beginning. */
export function moment(us, step, zero) {
  const since = us - zero;
  const places = (unit) => Math.max(0, Math.min(3, Math.ceil(-Math.log10(step / unit) - 1e-9)));
  if (Math.abs(since) < step / 1000) return "0";
  if (step >= 1e5) return `${(since / 1e6).toFixed(places(1e6))} s`;
  if (step >= 100) return `${(since / 1000).toFixed(places(1000))} ms`;
  return `${since.toFixed(places(1))} µs`;
}

export const clock = (unix, us) => new Date(unix * 1000 + us / 1000).toISOString().slice(11, 23);
