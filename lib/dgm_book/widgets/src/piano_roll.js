// A piano roll: bars of notes over frames, beside a keyboard; the opening can be changed by click and by key.

import { element, shape } from "./frame.js";
import { place, resize, words } from "./plot.js";

const NOTES = ["C", "C\u266f", "D", "E\u266d", "E", "F", "F\u266f", "G", "A\u266d", "A", "B\u266d", "B"];
const KEYS = 46; // px, of the keyboard beside the roll
const [TOP, BOTTOM] = [18, 18];
const START = { "text-anchor": "start" };
/** @type {Record<string, [number, number]>} */
const MOVES = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
  PageUp: [0, 12],
  PageDown: [0, -12],
};

const nameOf = (/** @type {number} */ pitch) => `${NOTES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;
const isBlack = (/** @type {number} */ pitch) => [1, 3, 6, 8, 10].includes(pitch % 12);
/** @type {(pitches: number[]) => string} */
export const inNotes = (pitches) => (pitches.length ? pitches.map(nameOf).join(" ") : "silence");
/** @type {(v: number, low: number, high: number) => number} */
const within = (v, low, high) => Math.max(low, Math.min(high, v));

/** @type {(acts: RollActs) => PianoRoll} */
export function makeRoll({ opening, changed, seek, say, ask }) {
  const keys = shape("svg.dgm-mu-keys", { "aria-hidden": "true" });
  const look = { tabindex: 0, role: "application", "aria-roledescription": "piano roll" };
  const roll = shape("svg.dgm-pad.dgm-mu-roll", look);
  const ground = shape("g");
  const names = ["given", "made", "sounding", "cursor", "head"];
  const parts = names.map((name) => shape("path", { class: `dgm-mu-${name}` }));
  const [given, written, sounding, cursorPath, headPath] = parts;
  roll.append(ground, ...parts);
  const holder = element("div.dgm-mu-scroll", roll);
  let cursor = { t: 0, pitch: 60 };
  let [key, low, high, wide, row, tall] = ["", 36, 84, 9, 1, 352];
  const y = (/** @type {number} */ pitch) => TOP + (high - pitch) * row;

  function toggle(/** @type {number} */ t, /** @type {number} */ pitch) {
    const others = opening()[t].filter((other) => other !== pitch);
    const on = others.length === opening()[t].length;
    const now = on ? [...others, pitch].sort((a, b) => a - b) : others;
    changed(opening().map((pitches, s) => (s === t ? now : pitches)));
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
    if (!move && event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    if (!move) return toggle(cursor.t, cursor.pitch);
    const t = within(cursor.t + move[0], 0, opening().length - 1);
    const pitch = within(cursor.pitch + move[1], low, high);
    cursor = { t, pitch };
    say(`Frame ${t + 1}, ${nameOf(pitch)}, ${opening()[t].includes(pitch) ? "on" : "off"}`);
    ask();
  });
  for (const kind of ["focus", "blur"]) roll.addEventListener(kind, ask);

  // The keyboard, the rows of the black keys, and bars at every fourth frame.
  /** @type {(frames: number, first: number, writer: string) => void} */
  function drawGround(frames, first, writer) {
    const whole = wide * frames;
    const pitches = Array.from({ length: high - low + 1 }, (_, i) => low + i);
    const [black, octaves] = [pitches.filter(isBlack), pitches.filter((pitch) => pitch % 12 === 0)];
    const ebony = black.map((pitch) => `M${KEYS - 16} ${y(pitch)}h11v${row}h-11Z`);
    keys.replaceChildren(
      ...octaves.map((p) => words(KEYS - 20, y(p) + row, nameOf(p), { "text-anchor": "end" })),
      shape("path.dgm-mu-ivory", { d: `M${KEYS - 16} ${TOP}h16v${tall}h-16Z` }),
      shape("path.dgm-mu-ebony", { d: ebony.join("") }),
    );
    const rows = black.map((pitch) => `M0 ${y(pitch)}h${whole}v${row}H0Z`);
    const bars = Array.from({ length: Math.ceil(frames / 4) }, (_, i) => 4 * i);
    const numbers = bars.filter((t) => t % (wide < 14 ? 8 : 4) === 0);
    const lines = octaves.map((pitch) => `M0 ${y(pitch) + row}h${whole}`);
    const edge = first * wide;
    ground.replaceChildren(
      shape("path.dgm-mu-black", { d: rows.join("") }),
      shape("path.dgm-grid", { d: [...lines, ...bars.map((t) => `M${t * wide} ${TOP}v${tall}`)].join("") }),
      ...numbers.map((t) => words(t * wide + 2, TOP + tall + 14, String(t + 1), START)),
      shape("path.dgm-mu-opening", { d: `M0 ${TOP}h${edge}v${tall}H0Z` }),
      shape("path.dgm-mu-edge", { d: `M${edge} ${TOP - 12}v${tall + 12}` }),
      words(2, TOP - 6, edge > 55 ? "opening" : "", START),
      words(edge + 5, TOP - 6, `${writer} writes`, START),
    );
  }

  // A bar leaves a hair free in front, so that notes struck anew stand apart.
  const barsOf = (/** @type {Run[]} */ runs) =>
    runs.map(([pitch, t, frames]) => {
      const long = (frames * wide - 1.2).toFixed(1);
      return `M${(t * wide + 0.7).toFixed(1)} ${y(pitch) + 0.5}h${long}v${row - 1}h-${long}Z`;
    });

  return {
    node: element("div.dgm-mu-sheet", keys, holder),
    /** Where all notes lie; whether that is new. */
    layout(pitches, frames, width, writer) {
      // Four octaves, or all keys where they do not suffice, at the same height.
      const narrow = Math.min(...pitches) >= 36 && Math.max(...pitches) <= 84;
      const [least, most] = narrow || !pitches.length ? [36, 84] : [21, 108];
      const across = Math.max(9, (width - KEYS - 4) / frames);
      const now = [least, most, frames, opening().length, across, writer].join();
      if (now === key) return false;
      tall = width < 450 ? 245 : 352;
      [key, low, high, wide, row] = [now, least, most, across, tall / (most - least + 1)];
      for (const svg of [roll, keys]) {
        const size = svg === keys ? KEYS : wide * frames;
        resize(svg, size, TOP + tall + BOTTOM);
        svg.style.width = `${size}px`;
      }
      drawGround(frames, opening().length, writer);
      const moves =
        "Arrow keys move within the opening, Page Up and Down by octaves; Space turns a note on or off.";
      place(roll, { "aria-label": `Piano roll of ${frames} frames. ${moves}` });
      return true;
    },
    drawNotes(first, rest) {
      place(given, { d: barsOf(first).join("") });
      place(written, { d: barsOf(rest).join("") });
    },
    drawHead(at, glide, pitches, follow) {
      place(sounding, { d: barsOf(pitches.map((pitch) => [pitch, at, 1])).join("") });
      const x = (at + glide) * wide;
      place(headPath, { d: `M${x} ${TOP - 4}v${tall + 8}` });
      const box = `M${cursor.t * wide} ${y(cursor.pitch)}h${wide}v${row}h${-wide}Z`;
      place(cursorPath, { d: roll.matches(":focus") ? box : "" });
      const { scrollLeft, clientWidth } = holder;
      if (follow && (x < scrollLeft || x > scrollLeft + clientWidth - 20)) holder.scrollLeft = x - 20;
    },
  };
}
