// What the devices did in the visible time: busy, and idle by cause, each in its colour.

import * as colours from "./colours.js";
import { usage } from "./trace.js";
import { duration } from "./units.js";

export function legend(place, trace, view) {
  const { busy, idle } = usage(trace.device, view.start, view.end);
  const whole = [...idle.values()].reduce((sum, one) => sum + one, busy);
  const parts = [];
  if (whole > 0) {
    parts.push(one(colours.busy(), `device busy ${share(busy, whole)}`, `${duration(busy)} of ${duration(whole)} that steps tell of`));
    parts.push(quiet("idle:"));
    for (const cause of [...colours.CAUSES, ...[...idle.keys()].filter((key) => !colours.CAUSES.includes(key))]) {
      const took = idle.get(cause) ?? 0;
      if (took > 0 || cause !== "unknown") {
        parts.push(one(colours.idle(cause), `${cause} ${share(took, whole)}`, `${duration(took)}: ${colours.about(cause)}`));
      }
    }
  } else {
    parts.push(quiet("no device step in the visible time"));
  }
  parts.push(quiet(`in sight: ${duration(view.span)}`));
  place.replaceChildren(...parts);
}

const share = (part, whole) => `${((part / whole) * 100).toFixed(1)} %`;

function one(colour, text, title) {
  const made = document.createElement("span");
  const mark = document.createElement("i");
  mark.style.background = colour;
  made.title = title;
  made.append(mark, text);
  return made;
}

function quiet(text) {
  const made = document.createElement("span");
  made.className = "quiet";
  made.textContent = text;
  return made;
}
