// What lies under the pointer, in three lines.

import * as colours from "./colours.js";
import { duration } from "./units.js";

const FACTS = ["sluice.tokens", "sluice.rows", "rows", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "sluice.idle_cause"];

export function tip(place, slice, x, y) {
  place.hidden = !slice;
  if (!slice) return;
  const name = document.createElement("b");
  name.textContent = slice.name;
  const took = document.createElement("span");
  took.textContent = `${duration(slice.end - slice.start)} · ${slice.row.lane.name} of ${slice.row.lane.process.name}`;
  const more = document.createElement("span");
  const facts = FACTS.filter((fact) => fact in slice.args).map((fact) => `${fact.split(".").at(-1)} ${slice.args[fact]}`);
  more.textContent = slice.cat === "idle" ? colours.about(slice.args.cause) : facts.join(" · ");
  place.replaceChildren(name, took, ...(more.textContent ? [more] : []));
  const stage = place.parentElement.getBoundingClientRect();
  const box = place.getBoundingClientRect();
  place.style.left = `${Math.max(4, Math.min(x + 14, stage.width - box.width - 6))}px`;
  place.style.top = `${y + 18 + box.height > stage.height ? Math.max(4, y - box.height - 10) : y + 18}px`;
}
