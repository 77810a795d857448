// What has which colour, in both themes.

import { isDark } from "./theme.js";

export const CAUSES = ["plan", "submit", "bus", "loop", "work", "unknown"];
const IDLE = { plan: "#f08c00", submit: "#d6336c", bus: "#7048e8", loop: "#e03131", work: "#868e96", unknown: "#adb5bd" };
const ABOUT = {
  plan: "the next step was still being planned",
  submit: "it was planned, and still on its way to the device",
  bus: "the bus was slow, and held up the loop",
  loop: "something else hogged the event loop",
  work: "there was nothing to do",
  unknown: "the engine does not say why",
};
const NAMED = {
  validate: 45, tokenize: 85, "send requests": 275, relay: 205, generate: 215, queue: 35, prefill: 160, decode: 190,
  detokenize: 255, settle: 300, "hand-over": 340, plan: 40, pack: 70, launch: 320, device: 175, commit: 225, "on the way": 275,
};
const known = new Map();

export const idle = (cause) => IDLE[cause] ?? IDLE.unknown;
export const about = (cause) => ABOUT[cause] ?? ABOUT.unknown;
export const busy = () => (isDark() ? "#2b8a9e" : "#4fb3c8");

export function of(slice) {
  if (slice.cat === "idle") return idle(slice.args.cause);
  if (slice.cat === "device") return busy();
  if (slice.args.error) return isDark() ? "#b4442f" : "#e8836f";
  const word = slice.cat === "step" ? "step" : slice.name;
  const place = `${isDark()} ${word} ${slice.depth}`;
  if (!known.has(place)) known.set(place, made(word, slice.depth));
  return known.get(place);
}

function made(word, depth) {
  const hue = word === "step" ? 195 : (NAMED[word] ?? (word.includes("/") ? 215 : hashed(word)));
  const strength = word === "step" || word.includes("/") || word === "generate" ? 28 : 48;
  return isDark() ? `hsl(${hue} ${strength}% ${34 + 3 * depth}%)` : `hsl(${hue} ${strength + 14}% ${80 - 4 * depth}%)`;
}

function hashed(word) {
  let value = 7;
  for (const letter of word) value = (value * 31 + letter.codePointAt(0)) % 3600;
  return value / 10;
}

/** The page's own colours, for the canvas. */
export function page() {
  const style = getComputedStyle(document.body);
  const probe = (name) => {
    const given = document.createElement("i");
    given.style.color = `var(--${name})`;
    document.body.append(given);
    const colour = getComputedStyle(given).color;
    given.remove();
    return colour;
  };
  const names = ["ground", "side", "raised", "line", "text", "quiet", "accent"];
  return { ...Object.fromEntries(names.map((name) => [name, probe(name)])), font: style.fontFamily };
}
