// A pad to draw on with mouse, finger or keys; strokes are lists x0, y0, x1, y1, ... as shares of its side.

import { element, penOf } from "./frame.js";
import { PEN } from "./models/drawing.js";

const SIDE = 336; // of the pad, in its own pixels
const MOST = 7900; // numbers of a drawing
/** @type {Record<string, number[]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** @type {(v: number) => number} */
const near = (v) => Math.round(1000 * Math.min(1, Math.max(0, v))) / 1000;

/** @type {(acts: PadActs) => DrawingPad} */
export function makePad({ strokes, began, drawn, undo, enter, noted, say }) {
  const pad = element("canvas", {
    role: "application",
    "aria-roledescription": "drawing pad",
    tabindex: 0,
    width: SIDE,
    height: SIDE,
    "aria-label":
      "Drawing pad. Arrow keys move the pen, with Shift in larger steps; Space puts it down and lifts " +
      "it; Backspace takes the last stroke away; Enter starts.",
  });
  const paper = penOf(pad, true);
  /** @type {number[] | null} */
  let open = null;
  let [pen, keyed, finger] = [[0.5, 0.5], false, -1];

  /** @type {(at: number[]) => void} */
  function down([x, y]) {
    began();
    open = [near(x), near(y)];
    noted();
  }
  /** @type {(at: number[]) => void} */
  function move([x, y]) {
    if (!open || open.length + strokes().flat().length > MOST) return;
    const [px, py] = open.slice(-2);
    if (Math.hypot(x - px, y - py) < 0.004) return;
    open.push(near(x), near(y));
    noted();
  }
  function up() {
    if (!open) return;
    const stroke = open;
    open = null;
    drawn([...strokes(), stroke]);
    noted();
  }

  /** @type {(event: PointerEvent) => number[]} */
  const placeOf = ({ clientX, clientY }) => {
    const box = pad.getBoundingClientRect();
    return [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
  };
  pad.addEventListener("pointerdown", (event) => {
    if (event.button || finger >= 0) return;
    finger = event.pointerId;
    keyed = false;
    pad.setPointerCapture(finger);
    up();
    down(placeOf(event));
  });
  pad.addEventListener("pointermove", (event) => {
    if (event.pointerId !== finger) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const step of passed.length ? passed : [event]) move(placeOf(step));
  });
  /** @type {("pointerup" | "pointercancel" | "lostpointercapture")[]} */
  const ends = ["pointerup", "pointercancel", "lostpointercapture"];
  for (const name of ends) {
    pad.addEventListener(name, (event) => {
      if (event.pointerId !== finger) return;
      finger = -1;
      up();
    });
  }
  pad.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || finger >= 0) return;
    const way = ARROWS[event.key];
    if (!way && ![" ", "Enter", "Backspace"].includes(event.key)) return;
    event.preventDefault();
    keyed = true;
    if (way) {
      pen = pen.map((v, k) => near(v + (event.shiftKey ? 0.12 : 0.04) * way[k]));
      move(pen);
    } else if (event.key === " ") {
      if (open) up();
      else down(pen);
    } else if (event.key === "Enter") {
      up();
      enter();
    } else {
      open = null;
      undo();
    }
    const [across, below] = pen.map((v) => Math.round(100 * v));
    say(`Pen ${open ? "down" : "up"}, ${across} % from the left, ${below} % from the top`);
    noted();
  });
  pad.addEventListener("blur", up);

  function draw() {
    paper.fillStyle = "#000";
    paper.fillRect(0, 0, SIDE, SIDE);
    paper.lineCap = "round";
    paper.lineJoin = "round";
    paper.lineWidth = 2 * PEN * SIDE;
    paper.strokeStyle = "#fff";
    for (const stroke of open ? [...strokes(), open] : strokes()) {
      paper.beginPath();
      paper.moveTo(SIDE * stroke[0], SIDE * stroke[1]);
      for (let k = 0; k < stroke.length; k += 2) paper.lineTo(SIDE * stroke[k], SIDE * stroke[k + 1]);
      paper.stroke();
    }
    if (!keyed) return;
    // The pen is seen on ink and on paper alike.
    for (const [colour, line] of /** @type {[string, number][]} */ ([
      ["#000", 6],
      ["#fff", 2.5],
    ])) {
      paper.strokeStyle = colour;
      paper.lineWidth = line;
      paper.beginPath();
      paper.arc(SIDE * pen[0], SIDE * pen[1], open ? 15 : 9, 0, 7);
      paper.stroke();
    }
  }
  return { node: pad, draw };
}
