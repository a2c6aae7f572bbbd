// Planes that a pointer and the arrow keys move in.

/** @type {Record<string, [number, number]>} */
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

const FINGER = 26; // px from the middle of a handle

// Calls with a place, px from the svg's corner, and whether the drag begins there: a mouse or a pen drags
// anywhere, a finger by a handle alone, so that all else scrolls, and where it taps. `act` returns false
// where there is nothing to drag.
/** @type {(svg: SVGElement, handles: () => Iterable<Element>, act: DragAct) => void} */
export function onDrag(svg, handles, act) {
  let [dragging, finger] = [false, false];
  /** @type {(at: { clientX: number, clientY: number }) => boolean} */
  const near = ({ clientX, clientY }) =>
    [...handles()].some((handle) => {
      const { x, y, width, height } = handle.getBoundingClientRect();
      return Math.hypot(clientX - x - width / 2, clientY - y - height / 2) < FINGER;
    });
  const point = (/** @type {MouseEvent} */ event, /** @type {boolean} */ first) => {
    const { left, top } = svg.getBoundingClientRect();
    return act(event.clientX - left, event.clientY - top, first);
  };
  const keep = (/** @type {TouchEvent} */ event) => {
    if (event.touches.length === 1 && near(event.touches[0])) event.preventDefault();
  };
  svg.addEventListener("touchstart", keep, { passive: false });
  svg.addEventListener("pointerdown", (event) => {
    finger = event.pointerType === "touch";
    if (event.button || (finger && !near(event))) return;
    dragging = point(event, true) !== false;
    if (dragging) svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    if (dragging && event.buttons) point(event, false);
  });
  const end = () => {
    dragging = false;
  };
  for (const kind of ["pointerup", "pointercancel"]) svg.addEventListener(kind, end);
  svg.addEventListener("click", (event) => {
    if (finger) point(event, true);
  });
}
/** @typedef {(x: number, y: number, first: boolean) => unknown} DragAct */

// Calls with a step to the right and one upwards, `large` with Shift.
/** @type {(node: SVGElement, act: (x: number, y: number, large: boolean) => void) => void} */
export function onArrows(node, act) {
  node.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act(...step, event.shiftKey);
  });
}
