// One key, one wish. Nothing is taken from somebody who writes in a field.

/** `wishes`: a key's name to what it does. */
export function listen(wishes) {
  addEventListener("keydown", (event) => {
    const writes = event.target.closest("input, select, dialog");
    const presses = event.target.closest("button") && (event.key === " " || event.key === "Enter");
    if (writes || presses || event.ctrlKey || event.metaKey || event.altKey) return;
    const wish = wishes[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!wish) return;
    event.preventDefault();
    wish();
  });
}
