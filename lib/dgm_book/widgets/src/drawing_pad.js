// A pad to draw on with mouse, finger or keys; strokes are lists x0, y0, x1, y1, ... as shares of its side.

import { element, penOf } from "./frame.js";
import { PEN } from "./models/drawing.js";

const SIDE = 336; // of the pad, in its own pixels
const MOST = 7900; // numbers of a drawing
const NAME =
  "Drawing pad. Arrow keys move the pen, with Shift in larger steps; Space puts it down and lifts " +
  "it; Backspace takes the last stroke away; Enter starts.";
/** @type {Record<string, number[]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const near = (/** @type {number} */ v) => Math.round(1000 * Math.min(1, Math.max(0, v))) / 1000;

/** @type {(acts: PadActs) => DrawingPad} */
export function makePad({ strokes, began, drawn, undo, enter, noted, say }) {
  const look = { tabindex: 0, width: SIDE, height: SIDE, "aria-label": NAME };
  const pad = element("canvas", { role: "application", "aria-roledescription": "drawing pad", ...look });
  const paper = penOf(pad, true);
  /** @type {number[] | null} */
  let open = null;
  let [pen, keyed, finger] = [[0.5, 0.5], false, -1];

  function down(/** @type {number[]} */ at) {
    began();
    open = at.map(near);
    noted();
  }
  function move(/** @type {number[]} */ at) {
    if (!open || open.length + strokes().flat().length > MOST) return;
    const [x, y] = open.slice(-2);
    if (Math.hypot(at[0] - x, at[1] - y) < 0.004) return;
    open.push(...at.map(near));
    noted();
  }
  function up() {
    if (!open) return;
    const stroke = open;
    open = null;
    drawn([...strokes(), stroke]);
    noted();
  }

  const placeOf = (/** @type {PointerEvent} */ { clientX, clientY }) => {
    const box = pad.getBoundingClientRect();
    return [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
  };
  pad.addEventListener("pointerdown", (event) => {
    if (event.button || finger >= 0) return;
    [finger, keyed] = [event.pointerId, false];
    pad.setPointerCapture(finger);
    up();
    down(placeOf(event));
  });
  pad.addEventListener("pointermove", (event) => {
    if (event.pointerId !== finger) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const step of passed.length ? passed : [event]) move(placeOf(step));
  });
  for (const name of /** @type {const} */ (["pointerup", "pointercancel", "lostpointercapture"])) {
    pad.addEventListener(name, (event) => {
      if (event.pointerId !== finger) return;
      finger = -1;
      up();
    });
  }
  /** @type {Record<string, () => void>} */
  const keys = {
    " "() {
      if (open) up();
      else down(pen);
    },
    Enter() {
      up();
      enter();
    },
    Backspace() {
      open = null;
      undo();
    },
  };
  pad.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || finger >= 0) return;
    const step = ARROWS[event.key];
    if (!step && !keys[event.key]) return;
    event.preventDefault();
    keyed = true;
    if (step) {
      pen = pen.map((v, k) => near(v + (event.shiftKey ? 0.12 : 0.04) * step[k]));
      move(pen);
    } else keys[event.key]();
    const [across, below] = pen.map((v) => Math.round(100 * v));
    say(`Pen ${open ? "down" : "up"}, ${across} % from the left, ${below} % from the top`);
    noted();
  });
  pad.addEventListener("blur", up);

  function draw() {
    paper.fillStyle = "#000";
    paper.fillRect(0, 0, SIDE, SIDE);
    paper.lineCap = paper.lineJoin = "round";
    paper.lineWidth = 2 * PEN * SIDE;
    paper.strokeStyle = "#fff";
    for (const stroke of open ? [...strokes(), open] : strokes()) {
      paper.beginPath();
      paper.moveTo(SIDE * stroke[0], SIDE * stroke[1]);
      for (let k = 0; k < stroke.length; k += 2) paper.lineTo(SIDE * stroke[k], SIDE * stroke[k + 1]);
      paper.stroke();
    }
    // The pen stands out on ink and on paper alike.
    for (const width of keyed ? [6, 2.5] : []) {
      paper.strokeStyle = width === 6 ? "#000" : "#fff";
      paper.lineWidth = width;
      paper.beginPath();
      paper.arc(SIDE * pen[0], SIDE * pen[1], open ? 15 : 9, 0, 7);
      paper.stroke();
    }
  }
  return { node: pad, draw };
}
