// A piano roll: bars of notes over frames, beside a keyboard; the opening can be changed by click and by key.

import { element, shape } from "./frame.js";
import { place, words } from "./plot.js";

const NOTES = ["C", "C\u266f", "D", "E\u266d", "E", "F", "F\u266f", "G", "A\u266d", "A", "B\u266d", "B"];
const KEYS = 46; // px, of the keyboard beside the roll
const [TOP, TALL, BOTTOM] = [18, 352, 18];
/** @type {Record<string, [number, number]>} */
const MOVES = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
  PageUp: [0, 12],
  PageDown: [0, -12],
};

/** @type {(pitch: number) => string} */
export const nameOf = (pitch) => `${NOTES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;
/** @type {(pitch: number) => boolean} */
const isBlack = (pitch) => [1, 3, 6, 8, 10].includes(pitch % 12);
/** @type {(pitches: number[]) => string} */
export const inNotes = (pitches) => (pitches.length ? pitches.map(nameOf).join(" ") : "silence");

/** @type {(node: SVGElement, width: number) => void} */
function size(node, width) {
  place(node, { viewBox: `0 0 ${width} ${TOP + TALL + BOTTOM}`, height: TOP + TALL + BOTTOM });
  node.style.width = `${width}px`;
}

/** @type {(acts: RollActs) => PianoRoll} */
export function makeRoll({ opening, changed, seek, say, ask }) {
  const keys = shape("svg.dgm-mu-keys", { "aria-hidden": "true" });
  const roll = shape("svg.dgm-pad.dgm-mu-roll", {
    tabindex: 0,
    role: "application",
    "aria-roledescription": "piano roll",
  });
  const ground = shape("g");
  const names = ["given", "made", "sounding", "cursor", "head"];
  const parts = names.map((name) => shape("path", { class: `dgm-mu-${name}` }));
  const [given, written, sounding, cursorPath, headPath] = parts;
  roll.append(ground, ...parts);
  const holder = element("div.dgm-mu-scroll", roll);
  let cursor = { t: 0, pitch: 60 };
  let focused = false;
  let [key, low, high, wide, row] = ["", 36, 84, 9, 1];
  const y = (/** @type {number} */ pitch) => TOP + (high - pitch) * row;

  /** @type {(t: number, pitch: number) => void} */
  function toggle(t, pitch) {
    const frames = opening().map((pitches) => [...pitches]);
    const on = !frames[t].includes(pitch);
    frames[t] = on ? [...frames[t], pitch].sort((a, b) => a - b) : frames[t].filter((one) => one !== pitch);
    changed(frames);
    say(`${nameOf(pitch)} ${on ? "on" : "off"}, frame ${t + 1}`);
  }
  roll.addEventListener("click", (event) => {
    const box = roll.getBoundingClientRect();
    const t = Math.floor((event.clientX - box.left) / wide);
    const pitch = high - Math.floor((event.clientY - box.top - TOP) / row);
    if (t >= opening().length) return seek(t);
    if (pitch < low || pitch > high) return;
    cursor = { t, pitch };
    toggle(t, pitch);
  });
  roll.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (event.key === " " || event.key === "Enter") toggle(cursor.t, cursor.pitch);
    else if (move) {
      const t = Math.max(0, Math.min(opening().length - 1, cursor.t + move[0]));
      cursor = { t, pitch: Math.max(low, Math.min(high, cursor.pitch + move[1])) };
      const on = opening()[t].includes(cursor.pitch);
      say(`Frame ${t + 1}, ${nameOf(cursor.pitch)}, ${on ? "on" : "off"}`);
      ask();
    } else return;
    event.preventDefault();
  });
  for (const kind of ["focus", "blur"]) {
    roll.addEventListener(kind, () => {
      focused = kind === "focus";
      ask();
    });
  }

  function drawKeys() {
    keys.replaceChildren();
    let ebony = "";
    for (let pitch = low; pitch <= high; pitch++) {
      if (isBlack(pitch)) ebony += `M${KEYS - 16} ${y(pitch)}h11v${row}h-11Z`;
      if (pitch % 12 === 0)
        keys.append(words(KEYS - 20, y(pitch) + row, nameOf(pitch), { "text-anchor": "end" }));
    }
    const ivory = shape("path.dgm-mu-ivory", { d: `M${KEYS - 16} ${TOP}h16v${TALL}h-16Z` });
    keys.append(ivory, shape("path.dgm-mu-ebony", { d: ebony }));
  }

  /** @type {(frames: number, first: number, writer: string) => void} */
  function drawGround(frames, first, writer) {
    const whole = wide * frames;
    let [black, lines] = ["", ""];
    for (let pitch = low; pitch <= high; pitch++) {
      if (isBlack(pitch)) black += `M0 ${y(pitch)}h${whole}v${row}H0Z`;
      if (pitch % 12 === 0) lines += `M0 ${y(pitch) + row}h${whole}`;
    }
    ground.replaceChildren(shape("path.dgm-mu-black", { d: black }), shape("path.dgm-grid", { d: lines }));
    const start = { "text-anchor": "start" };
    for (let t = 0; t < frames; t += 4) {
      ground.append(shape("path.dgm-grid", { d: `M${t * wide} ${TOP}v${TALL}` }));
      if (t % (wide < 14 ? 8 : 4) === 0)
        ground.append(words(t * wide + 2, TOP + TALL + 14, String(t + 1), start));
    }
    const edge = first * wide;
    ground.append(
      shape("path.dgm-mu-opening", { d: `M0 ${TOP}h${edge}v${TALL}H0Z` }),
      shape("path.dgm-mu-edge", { d: `M${edge} ${TOP - 12}v${TALL + 12}` }),
      words(2, TOP - 6, edge > 55 ? "opening" : "", start),
      words(edge + 5, TOP - 6, `${writer} writes`, start),
    );
  }

  /** Where all notes lie; whether that is new. @type {PianoRoll["layout"]} */
  function layout(pitches, frames, width, writer) {
    // Four octaves, or all keys where they do not suffice, at the same height.
    const [least, most] = Math.min(...pitches) < 36 || Math.max(...pitches) > 84 ? [21, 108] : [36, 84];
    const across = Math.max(9, (width - KEYS - 4) / frames);
    const now = [least, most, frames, opening().length, across, writer].join();
    if (now === key) return false;
    [key, low, high, wide, row] = [now, least, most, across, TALL / (most - least + 1)];
    size(roll, wide * frames);
    size(keys, KEYS);
    drawKeys();
    drawGround(frames, opening().length, writer);
    const moves =
      "Arrow keys move within the opening, Page Up and Down by octaves; Space turns a note on or off.";
    place(roll, { "aria-label": `Piano roll of ${frames} frames. ${moves}` });
    return true;
  }

  // A bar leaves a hair free in front, so that notes struck anew stand apart.
  const barsOf = (/** @type {Run[]} */ runs) =>
    runs.map(([pitch, t, frames]) => {
      const long = (frames * wide - 1.2).toFixed(1);
      return `M${(t * wide + 0.7).toFixed(1)} ${y(pitch) + 0.5}h${long}v${row - 1}h-${long}Z`;
    });
  /** @type {PianoRoll["drawNotes"]} */
  const drawNotes = (first, rest) => {
    place(given, { d: barsOf(first).join("") });
    place(written, { d: barsOf(rest).join("") });
  };
  /** @type {PianoRoll["drawHead"]} */
  const drawHead = (at, glide, pitches, follow) => {
    place(sounding, { d: barsOf(pitches.map((pitch) => [pitch, at, 1])).join("") });
    const x = (at + glide) * wide;
    place(headPath, { d: `M${x} ${TOP - 4}v${TALL + 8}` });
    const box = `M${cursor.t * wide} ${y(cursor.pitch)}h${wide}v${row}h${-wide}Z`;
    place(cursorPath, { d: focused ? box : "" });
    const { scrollLeft, clientWidth } = holder;
    if (follow && (x < scrollLeft || x > scrollLeft + clientWidth - 20)) holder.scrollLeft = x - 20;
  };
  return { node: element("div.dgm-mu-sheet", keys, holder), layout, drawNotes, drawHead };
}
