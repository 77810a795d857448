// Mouse, pen and fingers on the lanes: drag to move, two fingers or the wheel to zoom, drag on the ruler to choose a
// range, click to select.

import { RULER } from "./layout.js";

const CLICK_PX = 4;

/** `does`: hover(x, y), leave(), click(x, y), range(from, to, done). */
export function listen(canvas, view, does) {
  const fingers = new Map();
  let drag = null;

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    const place = at(event);
    fingers.set(event.pointerId, place);
    const chooses = place.x > view.left && (place.y < RULER || event.shiftKey);
    drag = { ...place, from: view.time(place.x), chooses, moved: false };
    does.leave();
  });

  canvas.addEventListener("pointermove", (event) => {
    const place = at(event);
    const before = fingers.get(event.pointerId);
    if (!before) return does.hover(place.x, place.y);
    if (fingers.size === 2) pinch(event.pointerId, before, place);
    else move(before, place);
    fingers.set(event.pointerId, place);
  });

  function move(before, place) {
    if (Math.hypot(place.x - drag.x, place.y - drag.y) > CLICK_PX) drag.moved = true;
    if (!drag.moved) return;
    if (drag.chooses) return does.range(drag.from, view.time(place.x), false);
    canvas.style.cursor = "grabbing";
    if (drag.x > view.left) view.pan(before.x - place.x);
    view.scroll(before.y - place.y);
  }

  function pinch(moving, before, place) {
    const [other] = [...fingers].filter(([id]) => id !== moving).map(([, one]) => one);
    drag.moved = true;
    const was = Math.max(12, Math.abs(before.x - other.x));
    const is = Math.max(12, Math.abs(place.x - other.x));
    view.zoom(was / is, (place.x + other.x) / 2);
    view.pan((before.x - place.x) / 2);
  }

  const up = (event) => {
    const place = at(event);
    canvas.style.cursor = "";
    if (!fingers.delete(event.pointerId) || !drag) return;
    if (drag.chooses && drag.moved) does.range(drag.from, view.time(place.x), true);
    else if (!drag.moved && event.type === "pointerup") does.click(place.x, place.y);
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", () => does.leave());

  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const { x } = at(event);
      const lines = event.deltaMode === 1 ? 16 : 1;
      const [across, down] = [event.deltaX * lines, event.deltaY * lines];
      if (Math.abs(across) > Math.abs(down)) view.pan(across);
      else if (event.shiftKey) view.pan(down);
      else if (x < view.left || event.altKey) view.scroll(down);
      else view.zoom(Math.exp(Math.max(-300, Math.min(300, down)) * (event.ctrlKey ? 0.01 : 0.0016)), x);
    },
    { passive: false },
  );
}
