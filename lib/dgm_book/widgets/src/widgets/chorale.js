// The chorale: a model writes on from an opening; a piano roll shows it, and oscillators play it.

import "../styles/music.css";
import { checkbox, labelledSlider, pushButton } from "../controls.js";
import { formOf, pickOf, put, radiosOf, readoutList, sliderOf } from "../form.js";
import { calm, element, number, throttled } from "../frame.js";
import { showGoldenError } from "../golden.js";
import { compose, PARTICLES, runsOf } from "../models/chorale.js";
import { loadHyper } from "../models/hyper_weights.js";
import { meanOf } from "../panels.js";
import { inNotes, makeRoll } from "../piano_roll.js";
import { openSound } from "../sound.js";
import { defineWidget } from "../widget.js";

/** @typedef {ReturnType<typeof makeWriter>} Writer */

const BUDGET_MS = 4; // of one frame, for writing
const AHEAD_MS = 160; // that notes are given to the sound before they are due
const TAIL_MS = 400; // in which the last notes die away
const KEY =
  "Time runs to the right, a row is a key. Grey: the opening, yours to change; blue: what the model " +
  "wrote. A long bar is one held note.";
const SILENT = "This browser makes no sound here (it has no Web Audio); the roll plays on in silence.";
const MUTED = "The browser keeps the sound back; the roll plays on in silence.";

/** @typedef {{ name: string, label: string, frames: number[][] }} Opening */
/** A frame that has a time to sound, ms. @typedef {{ frame: number, from: number, lasts: number }} Turn */
/**
 * What plays: its sound, the next frame to give it and when that is due, and when all is over.
 * @typedef {{ sound: Sound | null, next: number, due: number, turns: Turn[], timer: number, over: number }}
 *   Play
 */

const openingOf = (/** @type {Widget} */ w) => /** @type {number[][]} */ (w.get("opening"));
const totalOf = (/** @type {Widget} */ w) => openingOf(w).length + w.get("length");

// The piece, written some frames of it at a time; `write` says whether it is whole.
function makeWriter(/** @type {Widget} */ w, /** @type {Record<string, HyperNet>} */ nets) {
  /** @type {Iterator<void> | null} */
  let job = null;
  const me = {
    key: "",
    piece: /** @type {Piece} */ ({ frames: [], nats: [], whole: false }),
    write() {
      const [length, temperature, seed] = ["length", "temperature", "seed"].map((name) => w.get(name));
      const settings = { opening: openingOf(w), length, temperature, seed };
      const key = JSON.stringify([w.get("model"), settings]);
      if (key !== me.key) {
        Object.assign(me, { key, piece: { frames: [], nats: [], whole: false } });
        job = compose(nets[w.get("model")], settings, me.piece);
      }
      const start = performance.now();
      while (job && performance.now() - start < BUDGET_MS) if (job.next().done) job = null;
      return me.piece.whole;
    },
    /** Of what was written, without the opening. @type {() => number | null} */
    meanNats() {
      const own = me.piece.nats.slice(openingOf(w).length);
      return own.length ? meanOf(own) : null;
    },
  };
  return me;
}

// Playing. What is due soon is given to the sound; the picture follows the same clock, with sound or without.
// `at` is the frame of the play head, `glide` how far it is through it.
/** @type {(w: Widget, writer: Writer, aloud: () => boolean, acts: PlayerActs) => Player} */
function makePlayer(w, writer, aloud, { note, changed }) {
  /** @type {Play | null} */
  let play = null;
  async function start() {
    if (me.at >= totalOf(w) - 1) me.at = 0;
    /** @type {Play} */
    const mine = { sound: null, next: me.at, due: 0, turns: [], timer: 0, over: Infinity };
    play = mine;
    note.textContent = "";
    changed("");
    if (aloud()) {
      mine.sound = openSound(); // in the very answer to the click
      if (!mine.sound) note.textContent = SILENT;
      else if (!(await mine.sound.ready())) note.textContent = MUTED;
      if (play !== mine) return;
    }
    mine.due = performance.now() + 60;
    mine.timer = setInterval(() => feed(mine), 40);
    feed(mine);
    changed(`Playing from frame ${me.at + 1}.`);
  }

  function feed(/** @type {Play} */ mine) {
    const now = performance.now();
    const { frames, whole } = writer.piece;
    // After a hold-up the piece goes on from where it was, and does not hurry.
    if (mine.due < now && mine.over === Infinity) mine.due = now + 10;
    while (mine.due < now + AHEAD_MS && mine.over === Infinity) {
      if (mine.next < frames.length) {
        mine.sound?.turn(frames[mine.next], mine.due);
        const lasts = 60000 / w.get("tempo");
        mine.turns.push({ frame: mine.next++, from: mine.due, lasts });
        mine.due += lasts;
      } else if (whole) {
        mine.sound?.turn([], mine.due);
        mine.over = mine.due;
      } else break; // not written yet
    }
    if (now >= mine.over + TAIL_MS) me.stop();
  }

  /** @type {Player} */
  const me = {
    at: 0,
    glide: 0,
    playing: () => play !== null,
    toggle: () => (play ? me.stop() : void start()),
    stop() {
      if (!play) return;
      clearInterval(play.timer);
      play.sound?.end();
      play = null;
      me.glide = 0;
      changed("");
    },
    seek(t) {
      [me.at, me.glide] = [Math.max(0, Math.min(totalOf(w) - 1, t)), 0];
      if (play) Object.assign(play, { next: me.at, due: performance.now() + 20, turns: [], over: Infinity });
      w.ask();
    },
    follow() {
      me.at = Math.min(me.at, totalOf(w) - 1);
      const [now, turns] = [performance.now(), play?.turns ?? []];
      while (turns.length > 1 && turns[1].from <= now) turns.shift();
      if (!turns.length || turns[0].from > now) return;
      me.at = Math.min(turns[0].frame, totalOf(w) - 1);
      me.glide = calm() ? 0 : Math.min(1, (now - turns[0].from) / turns[0].lasts);
    },
  };
  return me;
}
/** @typedef {{ note: Element, changed(spoken: string): void }} PlayerActs */
/**
 * @typedef {{ at: number, glide: number, playing(): boolean, seek(t: number): void } &
 *   Record<"toggle" | "stop" | "follow", () => void>} Player
 */

// The play button, the slider of the play head, and what brings all others up to date.
/** @type {(w: Widget, names: string[], player: Player, sound: Node) => Controls} */
function makeControls(w, names, player, sound) {
  const form = formOf(w);
  /** @type {Opening[]} */
  const openings = w.get("openings");
  const play = pushButton("Play", player.toggle, "dgm-reset dgm-mu-go");
  const another = pushButton("Write another", () => w.change({ seed: (w.get("seed") + 1) % 2 ** 20 }));
  const head = labelledSlider(`${w.id}-where`, "Play head", { min: 0, max: 1, step: 1 }, player.seek);
  const options = [["own", "your own"], ...openings.map(({ name, label }) => [` ${name}`, label])];
  const pick = pickOf(form, "label.dgm-mu-pick", "pick", "Opening", options, {
    get() {
      const now = JSON.stringify(openingOf(w));
      const known = openings.find(({ frames }) => JSON.stringify(frames) === now);
      return known ? ` ${known.name}` : "own";
    },
    set: (value) => w.change({ opening: openings.find(({ name }) => ` ${name}` === value)?.frames }),
  });
  pick.querySelector("option")?.setAttribute("disabled", "");
  const models = names.map((name) => [name, name]);
  const writers = radiosOf(form, "model", "Written by", models, { head: "Written by" });
  const heat = sliderOf(form, "temperature", "Temperature", { min: 0.3, max: 1.5, step: 0.05 });
  const tempo = sliderOf(
    form,
    "tempo",
    "Tempo",
    { min: 40, max: 240, step: 5 },
    {
      text: (v) => `${v} / min`,
      spoken: (v) => `${v} frames a minute`,
    },
  );
  const reset = form.reset(() => {
    player.stop();
    player.seek(0);
  });
  w.controls.append(
    element("div.dgm-row.dgm-mu-buttons", play, sound, another, reset),
    head.node,
    element("div.dgm-row", pick),
    ...(names.length > 1 ? [writers] : []),
    element("div.dgm-pair", heat, tempo),
    sliderOf(form, "length", "Frames to write", { min: 8, max: 96, step: 4 }),
  );
  return { play, head, show: form.show };
}
/** @typedef {{ play: Element, head: Slider, show(): void }} Controls */

// What is to be read of the piece once it is whole, and of the frame at the play head.
/** @type {(w: SpeakingWidget, writer: Writer) => Readouts} */
function makeReadouts(w, writer) {
  const fill = readoutList(w.side, ["Frame", "Notes", "Nats a frame", "Notes a frame"]);
  const note = element("p.dgm-note");
  w.side.append(note);
  let [shown, spoken] = ["", 0];
  /** @type {(string | Children)[]} */
  let scores = [];
  return {
    note,
    finish() {
      const { frames, nats } = writer.piece;
      const written = frames.slice(openingOf(w).length);
      const says = `log-likelihood of the ${written.length} written frames, by ${PARTICLES} particles`;
      const score = [number(writer.meanNats() ?? 0, 3), element("small", says)];
      scores = [score, (written.flat().length / written.length).toFixed(1)];
      w.root.dataset.piece = JSON.stringify(frames);
      w.root.dataset.nats = JSON.stringify(nats);
      if (JSON.stringify(w.get("piece")) !== w.root.dataset.piece) w.save({ piece: frames });
    },
    showFrame(at, whole, playing, head) {
      const key = [at, writer.key, writer.piece.frames.length, whole, playing].join();
      if (key === shown) return;
      shown = key;
      const notes = inNotes(writer.piece.frames[at] ?? []);
      const place = `${at + 1} of ${totalOf(w)}`;
      fill(`${place}${at < openingOf(w).length ? ", opening" : ""}`, notes, ...scores);
      head.input.max = String(totalOf(w) - 1);
      head.show(at, `${at + 1}`, `frame ${place}: ${notes}`);
      w.root.dataset.at = String(at);
      const now = performance.now();
      if (!whole || (playing && now - spoken < 6000)) return;
      spoken = now;
      const nats = writer.meanNats();
      w.speak(`Frame ${place}: ${notes}. ${nats === null ? "" : `Mean ${number(nats, 3)} nats a frame.`}`);
    },
  };
}
/**
 * @typedef {{ note: Element, finish(): void, showFrame(at: number, whole: boolean, playing: boolean, head:
 *   Slider): void }} Readouts
 */

export default defineWidget(
  {
    measure: "dgm:chorale",
    names: ["model", "opening", "temperature", "tempo", "length", "seed"],
    hint: "press Play; then click notes into the grey opening, and listen to what the model makes of them.",
    kind: "dgm-mu dgm-mu-chorale",
    pause: 500,
    load: loadHyper,
  },
  (w, { names, nets, goldenError }) => {
    showGoldenError(w.root, names, goldenError);
    const opening = () => openingOf(w);
    const writer = makeWriter(w, nets);
    const sound = checkbox(`${w.id}-aloud`, "sound", () => player.stop());
    sound.input.checked = true;
    const readouts = makeReadouts(w, writer);
    const changed = (/** @type {string} */ spoken) => {
      put(controls.play, player.playing() ? "Stop" : "Play");
      if (spoken) w.speak(spoken);
      w.ask();
    };
    const player = makePlayer(w, writer, () => sound.input.checked, { note: readouts.note, changed });
    const { node, layout, drawNotes, drawHead } = makeRoll({
      opening,
      changed: (frames) => w.change({ opening: frames }),
      seek: player.seek,
      say: throttled(w.status, 0),
      ask: w.ask,
    });
    w.picture.append(node, element("p.dgm-note", KEY));
    const controls = makeControls(w, names, player, sound.node);
    let painted = "";
    const hush = () => document.hidden && player.stop();
    document.addEventListener("visibilitychange", hush);
    globalThis.addEventListener("pagehide", player.stop);

    function draw(/** @type {number} */ width) {
      if (!width) return false;
      const whole = writer.write();
      player.follow();
      const { frames } = writer.piece;
      const laid = layout([...frames, ...opening()].flat(), totalOf(w), width, w.get("model"));
      const key = [writer.key, w.get("tempo"), frames.length, whole].join();
      if (laid || painted !== key) {
        painted = key;
        const first = opening().length;
        drawNotes(runsOf(opening(), 0, first), runsOf(frames, Math.min(first, frames.length), frames.length));
        if (whole) readouts.finish();
        controls.show();
      }
      const { at, glide } = player;
      drawHead(at, glide, frames[at] ?? [], player.playing());
      readouts.showFrame(at, whole, player.playing(), controls.head);
      return player.playing() || !whole;
    }
    function ended() {
      player.stop();
      document.removeEventListener("visibilitychange", hush);
      globalThis.removeEventListener("pagehide", player.stop);
    }
    return { draw, ended };
  },
);
