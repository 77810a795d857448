// Slices by name, trace, span, attribute or request. A request's id is a secret: the server is asked for its digest.

const REQUEST = /^(chatcmpl|cmpl|resp|req)-[0-9a-zA-Z]{16,}$/;

export const isRequest = (words) => REQUEST.test(words);

/** In the order of time; a trace is as good as its slices. */
export function matches(trace, words) {
  const wanted = words.trim().toLowerCase();
  if (!wanted) return [];
  const hits = (slice) => slice.cat !== "phase" && (slice.name.toLowerCase().includes(wanted) || told(slice.args, wanted));
  return trace.slices.filter(hits).sort((a, b) => a.start - b.start);
}

/** The root of the request with this digest, or the earliest of what is known of it. */
export function rootOf(trace, digest) {
  const own = trace.slices.filter((slice) => slice.cat === "request" && slice.args["sluice.request"] === digest);
  const traces = new Set(own.map((slice) => slice.args.trace_id));
  const all = trace.slices.filter((slice) => slice.cat === "request" && traces.has(slice.args.trace_id));
  return all.sort((a, b) => a.start - b.start || b.end - a.end)[0];
}

function told(args, wanted) {
  for (const [name, value] of Object.entries(args)) {
    if (typeof value === "string" && name !== "parent_id" && name !== "step_id" && value.toLowerCase().includes(wanted)) {
      return true;
    }
  }
  return false;
}
