// Planes that a pointer and the arrow keys move in.

/** @type {Record<string, [number, number]>} */
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

// Calls with the place of each press and of each move while pressed, px from the node's corner.
/** @type {(node: Element, act: (x: number, y: number, event: PointerEvent) => void) => void} */
export function onDrag(node, act) {
  /** @type {(event: Event) => void} */
  const follow = (event) => {
    if (!(event instanceof PointerEvent) || (event.type === "pointermove" && !event.buttons)) return;
    const box = node.getBoundingClientRect();
    act(event.clientX - box.left, event.clientY - box.top, event);
  };
  for (const name of ["pointerdown", "pointermove"]) node.addEventListener(name, follow);
}

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
