// The chorale: a model writes on from an opening; a piano roll shows it, and oscillators play it.

import "../styles/music.css";
import { checkbox, labelledSlider, pushButton, radioRow } from "../controls.js";
import { calm, element, number, openWidget, readout, throttled } from "../frame.js";
import { showGoldenError } from "../golden.js";
import { compose, PARTICLES, runsOf } from "../models/chorale.js";
import { loadHyper } from "../models/hyper_weights.js";
import { inNotes, makeRoll } from "../piano_roll.js";
import { openSound } from "../sound.js";

const BUDGET_MS = 4; // of one frame, for writing
const AHEAD_MS = 160; // that notes are told to the sound before they are due
const TAIL_MS = 400; // in which the last notes die away
const KEY =
  "Time runs to the right, a row is a key. Grey: the opening, yours to change; blue: what the model " +
  "wrote. A long bar is one held note.";
const SILENT = "This browser makes no sound here (it has no Web Audio); the roll plays on in silence.";

/** @typedef {{ name: string, label: string, frames: number[][] }} Opening */
/** A frame that has a time to sound, ms. @typedef {{ frame: number, from: number, lasts: number }} Turn */
/**
 * What plays: its sound, the next frame to tell it and when that is due, and when all is over.
 * @typedef {{ sound: Sound | null, next: number, due: number, turns: Turn[], timer: number, over: number }}
 *   Play
 */

// The piece, written some frames of it at a time.
/** @type {(w: Widget, nets: Record<string, HyperNet>) => Writer} */
function makeWriter(w, nets) {
  /** @type {Iterator<void> | null} */
  let job = null;
  /** @type {Writer} */
  const me = { piece: { frames: [], nats: [], whole: false }, key: "", write };
  function write() {
    const [opening, length, temperature, seed] = ["opening", "length", "temperature", "seed"].map((name) =>
      w.get(name),
    );
    const settings = { opening, length, temperature, seed };
    const key = JSON.stringify([w.get("model"), settings]);
    if (key !== me.key) {
      me.key = key;
      me.piece = { frames: [], nats: [], whole: false };
      job = compose(nets[w.get("model")], settings, me.piece);
    }
    const start = performance.now();
    while (job && performance.now() - start < BUDGET_MS) if (job.next().done) job = null;
    return me.piece.whole;
  }
  return me;
}
/** @typedef {{ piece: Piece, key: string, write(): boolean }} Writer */

// Playing. What is due soon is told to the sound; the picture follows the same clock, with sound or without.
/** @type {(w: Widget, writer: Writer, aloud: () => boolean, acts: PlayerActs) => Player} */
function makePlayer(w, writer, aloud, { note, changed, total }) {
  /** @type {Play | null} */
  let play = null;
  /** @type {Player} */
  const me = { at: 0, glide: 0, playing: () => play !== null, toggle, stop, seek, follow };

  function toggle() {
    if (play) stop();
    else start();
  }
  async function start() {
    if (me.at >= total() - 1) me.at = 0;
    /** @type {Play} */
    const mine = { sound: null, next: me.at, due: 0, turns: [], timer: 0, over: Infinity };
    play = mine;
    note.textContent = "";
    changed("");
    if (aloud()) {
      mine.sound = openSound(); // in the very answer to the click
      if (!mine.sound) note.textContent = SILENT;
      else if (!(await mine.sound.ready())) {
        note.textContent = "The browser keeps the sound back; the roll plays on in silence.";
      }
      if (play !== mine) return;
    }
    mine.due = performance.now() + 60;
    mine.timer = setInterval(() => tell(mine), 40);
    tell(mine);
    changed(`Playing from frame ${me.at + 1}.`);
  }

  /** @type {(mine: Play) => void} */
  function tell(mine) {
    const now = performance.now();
    const { frames, whole } = writer.piece;
    // After a hold-up the piece goes on from where it was, and does not hurry.
    if (mine.due < now && mine.over === Infinity) mine.due = now + 10;
    while (mine.due < now + AHEAD_MS && mine.over === Infinity) {
      if (mine.next < frames.length) {
        mine.sound?.turn(frames[mine.next], mine.due);
        const lasts = 60000 / w.get("tempo");
        mine.turns.push({ frame: mine.next, from: mine.due, lasts });
        mine.next += 1;
        mine.due += lasts;
      } else if (whole) {
        mine.sound?.turn([], mine.due);
        mine.over = mine.due;
      } else break; // not written yet
    }
    if (now >= mine.over + TAIL_MS) stop();
  }

  function stop() {
    if (!play) return;
    clearInterval(play.timer);
    play.sound?.end();
    play = null;
    me.glide = 0;
    changed("");
  }
  /** @type {(t: number) => void} */
  function seek(t) {
    [me.at, me.glide] = [Math.max(0, Math.min(total() - 1, t)), 0];
    if (play) Object.assign(play, { next: me.at, due: performance.now() + 20, turns: [], over: Infinity });
    w.ask();
  }
  function follow() {
    me.at = Math.min(me.at, total() - 1);
    if (!play) return;
    const now = performance.now();
    const { turns } = play;
    while (turns.length > 1 && turns[1].from <= now) turns.shift();
    if (!turns.length || turns[0].from > now) return;
    me.at = Math.min(turns[0].frame, total() - 1);
    me.glide = calm() ? 0 : Math.min(1, (now - turns[0].from) / turns[0].lasts);
  }
  return me;
}
/** @typedef {{ note: Element, changed(spoken: string): void, total(): number }} PlayerActs */
/**
 * `at` is the frame of the play head, `glide` how far it is through it.
 * @typedef {{ at: number, glide: number, playing(): boolean, toggle(): void, stop(): void, seek(t: number):
 *   void, follow(): void }} Player
 */

/** @type {(w: Widget, names: string[], acts: ControlActs) => Controls} */
function makeControls(w, names, { toggle, seek, stop, sound }) {
  /** @type {Opening[]} */
  const openings = w.get("openings");
  const play = pushButton("Play", toggle, "dgm-reset dgm-mu-go");
  const another = pushButton("Write another", () => w.change({ seed: (w.get("seed") + 1) % 2 ** 20 }));
  const where = labelledSlider(`${w.id}-where`, "Play head", { min: 0, max: 1, step: 1 }, seek);
  const options = openings.map(({ name, label }) => element("option", { value: ` ${name}` }, label));
  const own = element("option", { value: "own", disabled: "" }, "your own");
  const pick = element("select", { id: `${w.id}-pick` }, own, ...options);
  pick.addEventListener("change", () => {
    w.change({ opening: openings.find(({ name }) => ` ${name}` === pick.value)?.frames });
  });
  /** @type {(name: string, words: string, range: Attributes) => Slider} */
  const slider = (name, words, range) =>
    labelledSlider(`${w.id}-${name}`, words, range, (v) => w.change({ [name]: v }));
  const heat = slider("temperature", "Temperature", { min: 0.3, max: 1.5, step: 0.05 });
  const tempo = slider("tempo", "Tempo", { min: 40, max: 240, step: 5 });
  const length = slider("length", "Frames to write", { min: 8, max: 96, step: 4 });
  const models = names.map((name) => [name, name]);
  const who = radioRow(`${w.id}-who`, "Written by", models, (name) => w.change({ model: name }));
  who.node.prepend(element("span", "Written by"));
  w.controls.append(
    element("div.dgm-row.dgm-mu-buttons", play, sound, another, w.reset),
    where.node,
    element("div.dgm-row", element("label.dgm-mu-pick", { for: pick.id }, "Opening", pick)),
    ...(names.length > 1 ? [who.node] : []),
    element("div.dgm-pair", heat.node, tempo.node),
    length.node,
  );
  w.reset.addEventListener("click", () => {
    stop();
    seek(0);
    w.change(w.first);
  });
  return {
    play,
    where,
    show(total) {
      heat.show(w.get("temperature"), w.get("temperature").toFixed(2));
      tempo.show(w.get("tempo"), `${w.get("tempo")} / min`, `${w.get("tempo")} frames a minute`);
      length.show(w.get("length"), String(w.get("length")));
      where.input.max = String(total - 1);
      who.show(w.get("model"));
      const now = JSON.stringify(w.get("opening"));
      const known = openings.find(({ frames }) => JSON.stringify(frames) === now);
      pick.value = known ? ` ${known.name}` : "own";
    },
  };
}
/** @typedef {{ toggle(): void, seek(t: number): void, stop(): void, sound: Node }} ControlActs */
/** @typedef {{ play: HTMLElement, where: Slider, show(total: number): void }} Controls */

/** @type {(w: Widget) => Readouts} */
function makeReadouts(w) {
  const list = element("dl");
  const [frame, notes, score, perFrame] = ["Frame", "Notes", "Nats a frame", "Notes a frame"].map((term) =>
    readout(list, term),
  );
  const note = element("p.dgm-note");
  w.side.append(list, note);
  /** @type {(written: number[][], nats: number) => void} */
  const finish = (written, nats) => {
    const says = `log-likelihood of the ${written.length} written frames, by ${PARTICLES} particles`;
    score.replaceChildren(number(nats, 3), element("small", says));
    perFrame.textContent = (written.flat().length / written.length).toFixed(1);
  };
  return { note, frame, notes, finish };
}

/**
 * @typedef {{ note: Element, frame: Element, notes: Element, finish(written: number[][], nats: number):
 *   void }} Readouts
 */

// What is said of the piece, and of the frame at the play head.
/** @type {(w: Widget, writer: Writer, player: Player, where: Slider, readouts: Readouts) => Teller} */
function makeTeller(w, writer, player, where, readouts) {
  const opening = () => /** @type {number[][]} */ (w.get("opening"));
  const total = () => opening().length + w.get("length");
  const speak = throttled(w.status, 500);
  let [shown, spoken] = ["", 0];

  /** Of what was written, without the opening. @type {() => number | null} */
  function meanNats() {
    const own = writer.piece.nats.slice(opening().length);
    return own.length ? own.reduce((sum, v) => sum + v, 0) / own.length : null;
  }

  /** @type {Teller["finish"]} */
  function finish() {
    const { frames, nats } = writer.piece;
    readouts.finish(frames.slice(opening().length), meanNats() ?? 0);
    w.root.dataset.piece = JSON.stringify(frames);
    w.root.dataset.nats = JSON.stringify(nats);
    if (JSON.stringify(w.get("piece")) !== w.root.dataset.piece) w.save({ piece: frames });
  }

  /** @type {(whole: boolean) => void} */
  function showFrame(whole) {
    const { at } = player;
    const key = [at, writer.key, writer.piece.frames.length, whole, player.playing()].join();
    if (key === shown) return;
    shown = key;
    const notes = inNotes(writer.piece.frames[at] ?? []);
    const place = `${at + 1} of ${total()}`;
    readouts.frame.textContent = `${place}${at < opening().length ? ", opening" : ""}`;
    readouts.notes.textContent = notes;
    where.show(at, `${at + 1}`, `frame ${place}: ${notes}`);
    w.root.dataset.at = String(at);
    const now = performance.now();
    if (!whole || (player.playing() && now - spoken < 6000)) return;
    spoken = now;
    const nats = meanNats();
    speak(`Frame ${place}: ${notes}. ${nats === null ? "" : `Mean ${number(nats, 3)} nats a frame.`}`);
  }
  return { finish, showFrame };
}
/** @typedef {{ finish(): void, showFrame(whole: boolean): void }} Teller */

/** @type {(props: RenderProps) => Promise<() => void>} */
async function render(props) {
  const { names, nets, goldenError } = await loadHyper(props.model);
  const w = openWidget(props, {
    names: ["model", "opening", "temperature", "tempo", "length", "seed"],
    hint: "press Play; then click notes into the grey opening, and listen to what the model makes of them.",
    kind: "dgm-mu dgm-mu-chorale",
  });
  showGoldenError(w.root, names, goldenError);
  const opening = () => /** @type {number[][]} */ (w.get("opening"));
  const total = () => opening().length + w.get("length");
  const writer = makeWriter(w, nets);
  const sound = checkbox(`${w.id}-aloud`, "sound", () => player.stop());
  sound.input.checked = true;
  const readouts = makeReadouts(w);
  const speak = throttled(w.status, 500);
  const changed = (/** @type {string} */ spoken) => {
    controls.play.textContent = player.playing() ? "Stop" : "Play";
    if (spoken) speak(spoken);
    w.ask();
  };
  const player = makePlayer(w, writer, () => sound.input.checked, { note: readouts.note, changed, total });
  const { toggle, seek, stop } = player;
  const say = (/** @type {string} */ text) => {
    w.status.textContent = text;
  };
  const roll = makeRoll({
    opening,
    changed: (frames) => w.change({ opening: frames }),
    seek,
    say,
    ask: w.ask,
  });
  w.picture.append(roll.node, element("p.dgm-note", KEY));
  const controls = makeControls(w, names, { toggle, seek, stop, sound: sound.node });
  const teller = makeTeller(w, writer, player, controls.where, readouts);
  let [width, painted] = [0, ""];

  function draw() {
    if (!width) return false;
    const whole = writer.write();
    player.follow();
    const { frames } = writer.piece;
    const laid = roll.layout([...frames, ...opening()].flat(), total(), width, w.get("model"));
    const key = [writer.key, w.get("tempo"), frames.length, whole].join();
    if (laid || painted !== key) {
      painted = key;
      const first = opening().length;
      roll.drawNotes(
        runsOf(opening(), 0, first),
        runsOf(frames, Math.min(first, frames.length), frames.length),
      );
      if (whole) teller.finish();
      controls.show(total());
    }
    roll.drawHead(player.at, player.glide, frames[player.at] ?? [], player.playing());
    teller.showFrame(whole);
    return player.playing() || !whole;
  }
  const hush = () => document.hidden && player.stop();
  document.addEventListener("visibilitychange", hush);
  globalThis.addEventListener("pagehide", stop);
  return w.start("dgm:chorale", draw, {
    resized(wide) {
      width = wide;
      w.ask();
    },
    ended() {
      player.stop();
      document.removeEventListener("visibilitychange", hush);
      globalThis.removeEventListener("pagehide", stop);
    },
  });
}

export default { render };
