// What the gateway tells: the text as it came, for saving, and the same as an object.

import { ask, key } from "./key.js";

const PATIENCE_MS = 20_000;

/** Throws an Error whose message is for people; null if the user has no key to show. */
export async function collect(seconds, request) {
  const query = new URLSearchParams({ seconds });
  if (request) query.set("request", request);
  for (;;) {
    const headers = key() ? { Authorization: `Bearer ${key()}` } : {};
    const answer = await fetch(`timeline.json?${query}`, { headers, signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.status === 401) {
      if (await ask()) continue;
      return null;
    }
    const text = await answer.text();
    if (!answer.ok) throw new Error(reason(text) ?? `the gateway answered ${answer.status}`);
    return { text, trace: JSON.parse(text) };
  }
}

function reason(text) {
  try {
    return JSON.parse(text).error.message;
  } catch {
    return null;
  }
}
