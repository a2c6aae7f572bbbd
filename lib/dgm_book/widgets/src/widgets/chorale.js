// The chorale: a model writes on from an opening; a piano roll shows it, and oscillators play it.

import "../styles/music.css";
import { labelledSlider, pushButton, radioRow } from "../controls.js";
import {
  buildFrame,
  calm,
  element,
  number,
  onceAFrame,
  onWidth,
  readout,
  shape,
  throttled,
} from "../frame.js";
import { showGoldenError } from "../golden.js";
import { compose, PARTICLES, runsOf } from "../models/chorale.js";
import { loadHyper } from "../models/hyper_rnn.js";
import { openSound } from "../sound.js";

const BUDGET_MS = 4; // of one frame, for writing
const AHEAD_MS = 160; // that notes are told to the sound before they are due
const TAIL_MS = 400; // in which the last notes die away
const FOLLOWED = ["model", "opening", "temperature", "tempo", "length", "seed"];
const NOTES = ["C", "C\u266f", "D", "E\u266d", "E", "F", "F\u266f", "G", "A\u266d", "A", "B\u266d", "B"];
const nameOf = (pitch) => `${NOTES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;
const isBlack = (pitch) => [1, 3, 6, 8, 10].includes(pitch % 12);
const inNotes = (pitches) => (pitches.length ? pitches.map(nameOf).join(" ") : "silence");

async function render({ model, el }) {
  const { names, nets, goldenError } = await loadHyper(model);
  const openings = model.get("openings");
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint: "press Play; then click notes into the grey opening, and listen to what the model makes of them.",
  });
  frame.root.classList.add("dgm-mu", "dgm-mu-chorale");
  showGoldenError(frame.root, names, goldenError);
  const first = Object.fromEntries(FOLLOWED.map((name) => [name, model.get(name)]));
  const change = (values) => {
    for (const [name, v] of Object.entries(values)) model.set(name, v);
    model.save_changes();
    ask();
  };

  // The roll; the keys stay when it scrolls.

  const path = (name) => shape("path", { class: name });
  const keys = shape("svg.dgm-mu-keys", { "aria-hidden": "true" });
  const roll = shape("svg.dgm-pad.dgm-mu-roll", {
    tabindex: 0,
    role: "application",
    "aria-roledescription": "piano roll",
  });
  const ground = shape("g");
  const parts = Object.fromEntries(
    ["given", "made", "sounding", "cursor", "head"].map((name) => [name, path(`dgm-mu-${name}`)]),
  );
  roll.append(ground, ...Object.values(parts));
  const holder = element("div.dgm-mu-scroll", roll);
  const key = element(
    "p.dgm-note",
    "Time runs to the right, a row is a key. Grey: the opening, yours to change; blue: what the model wrote. A long bar is one held note.",
  );
  frame.picture.append(element("div.dgm-mu-sheet", keys, holder), key);

  // Controls

  const play = pushButton("Play", () => (player ? stop() : start()), "dgm-reset dgm-mu-go");
  const another = pushButton("Write another", () => change({ seed: (model.get("seed") + 1) % 2 ** 20 }));
  const aloud = element("input", { type: "checkbox", id: `${frame.id}-aloud` });
  aloud.checked = true;
  aloud.addEventListener("change", () => player && stop());
  const buttons = element(
    "div.dgm-row.dgm-mu-buttons",
    play,
    element("label", { for: aloud.id }, aloud, "sound"),
    another,
    frame.reset,
  );
  const where = labelledSlider(`${frame.id}-where`, "Play head", { min: 0, max: 1, step: 1 }, (t) => seek(t));
  const pick = element(
    "select",
    { id: `${frame.id}-pick` },
    element("option", { value: "own", disabled: "" }, "your own"),
    ...openings.map(({ name, label }) => element("option", { value: ` ${name}` }, label)),
  );
  pick.addEventListener("change", () =>
    change({ opening: openings.find(({ name }) => ` ${name}` === pick.value).frames }),
  );
  const heat = labelledSlider(
    `${frame.id}-heat`,
    "Temperature",
    { min: 0.3, max: 1.5, step: 0.05 },
    (temperature) => change({ temperature }),
  );
  const tempo = labelledSlider(`${frame.id}-tempo`, "Tempo", { min: 40, max: 240, step: 5 }, (v) =>
    change({ tempo: v }),
  );
  const length = labelledSlider(`${frame.id}-length`, "Frames to write", { min: 8, max: 96, step: 4 }, (v) =>
    change({ length: v }),
  );
  const who = radioRow(
    `${frame.id}-who`,
    "Written by",
    names.map((name) => [name, name]),
    (name) => change({ model: name }),
  );
  who.node.prepend(element("span", "Written by"));
  const pair = (...nodes) => element("div.dgm-pair", ...nodes);
  const opening = element("label.dgm-mu-pick", { for: pick.id }, "Opening", pick);
  frame.controls.append(
    buttons,
    where.node,
    element("div.dgm-row", opening),
    ...(names.length > 1 ? [who.node] : []),
    pair(heat.node, tempo.node),
    length.node,
  );
  frame.reset.addEventListener("click", () => {
    stop();
    at = 0;
    change(first);
  });

  // Read-outs

  const list = element("dl");
  const [frameValue, notesValue, natsValue, perFrame] = [
    "Frame",
    "Notes",
    "Nats a frame",
    "Notes a frame",
  ].map((term) => readout(list, term));
  const note = element("p.dgm-note");
  frame.side.append(list, note);
  const speak = throttled(frame.status, 500);

  // The piece, written some frames of it at a time

  let piece = { frames: [], nats: [], whole: false };
  let job = null;
  let wanted = "";

  function write() {
    const settings = Object.fromEntries(
      ["opening", "length", "temperature", "seed"].map((name) => [name, model.get(name)]),
    );
    const name = JSON.stringify([model.get("model"), settings]);
    if (name !== wanted) {
      wanted = name;
      piece = { frames: [], nats: [], whole: false };
      job = compose(nets[model.get("model")], settings, piece);
    }
    const begun = performance.now();
    while (job && performance.now() - begun < BUDGET_MS) if (job.next().done) job = null;
    return !job;
  }

  const total = () => model.get("opening").length + model.get("length");
  const sounding = (t) => piece.frames[t] ?? [];
  // Of what was written, without the opening.
  function meanNats() {
    const own = piece.nats.slice(model.get("opening").length);
    return own.length ? own.reduce((sum, v) => sum + v, 0) / own.length : null;
  }

  // Playing. What is due soon is told to the sound; the picture follows the same clock, with sound or
  // without.

  let at = 0; // the frame of the play head
  let glide = 0; // how far it is through it
  let player = null;

  async function start() {
    if (at >= total() - 1) at = 0;
    const mine = { sound: null, next: at, due: 0, turns: [], timer: 0, over: Infinity };
    player = mine;
    note.textContent = "";
    showButton();
    if (aloud.checked) {
      mine.sound = openSound(); // in the very answer to the click
      if (!mine.sound)
        note.textContent =
          "This browser makes no sound here (it has no Web Audio); the roll plays on in silence.";
      else if (!(await mine.sound.ready()))
        note.textContent = "The browser keeps the sound back; the roll plays on in silence.";
      if (player !== mine) return;
    }
    mine.due = performance.now() + 60;
    mine.timer = setInterval(() => tell(mine), 40);
    tell(mine);
    ask();
    speak(`Playing from frame ${at + 1}.`);
  }

  function tell(mine) {
    const now = performance.now();
    // After a hold-up the piece goes on from where it was, and does not hurry.
    if (mine.due < now && mine.over === Infinity) mine.due = now + 10;
    while (mine.due < now + AHEAD_MS && mine.over === Infinity) {
      if (mine.next < piece.frames.length) {
        mine.sound?.turn(sounding(mine.next), mine.due);
        const lasts = 60000 / model.get("tempo");
        mine.turns.push({ frame: mine.next, from: mine.due, lasts });
        mine.next += 1;
        mine.due += lasts;
      } else if (!job) {
        mine.sound?.turn([], mine.due);
        mine.over = mine.due;
      } else break; // not written yet
    }
    if (now >= mine.over + TAIL_MS) stop();
  }

  function stop() {
    if (!player) return;
    const over = player;
    player = null;
    clearInterval(over.timer);
    over.sound?.end();
    glide = 0;
    showButton();
    ask();
  }

  function seek(t) {
    [at, glide] = [Math.max(0, Math.min(total() - 1, t)), 0];
    if (player) Object.assign(player, { next: at, due: performance.now() + 20, turns: [], over: Infinity });
    ask();
  }

  function follow() {
    const now = performance.now();
    const { turns } = player;
    while (turns.length > 1 && turns[1].from <= now) turns.shift();
    if (!turns.length || turns[0].from > now) return;
    at = turns[0].frame;
    glide = calm() ? 0 : Math.min(1, (now - turns[0].from) / turns[0].lasts);
  }

  const showButton = () => (play.textContent = player ? "Stop" : "Play");

  // Changing the opening

  let cursor = { t: 0, pitch: 60 };
  let focused = false;

  function toggle(t, pitch) {
    const frames = model.get("opening").map((pitches) => [...pitches]);
    const on = !frames[t].includes(pitch);
    frames[t] = on ? [...frames[t], pitch].sort((a, b) => a - b) : frames[t].filter((one) => one !== pitch);
    change({ opening: frames });
    frame.status.textContent = `${nameOf(pitch)} ${on ? "on" : "off"}, frame ${t + 1}`;
  }

  roll.addEventListener("click", (event) => {
    const box = roll.getBoundingClientRect();
    const t = Math.floor((event.clientX - box.left) / layoutNow.wide);
    const pitch = layoutNow.high - Math.floor((event.clientY - box.top - TOP) / layoutNow.row);
    if (t >= model.get("opening").length) return seek(t);
    if (pitch < layoutNow.low || pitch > layoutNow.high) return;
    cursor = { t, pitch };
    toggle(t, pitch);
  });
  const moves = {
    ArrowLeft: [-1, 0],
    ArrowRight: [1, 0],
    ArrowUp: [0, 1],
    ArrowDown: [0, -1],
    PageUp: [0, 12],
    PageDown: [0, -12],
  };
  roll.addEventListener("keydown", (event) => {
    if (event.key === " " || event.key === "Enter") toggle(cursor.t, cursor.pitch);
    else if (moves[event.key]) {
      const [dt, dp] = moves[event.key];
      cursor.t = Math.max(0, Math.min(model.get("opening").length - 1, cursor.t + dt));
      cursor.pitch = Math.max(layoutNow.low, Math.min(layoutNow.high, cursor.pitch + dp));
      const on = model.get("opening")[cursor.t].includes(cursor.pitch);
      frame.status.textContent = `Frame ${cursor.t + 1}, ${nameOf(cursor.pitch)}, ${on ? "on" : "off"}`;
      ask();
    } else return;
    event.preventDefault();
  });
  for (const [event, on] of [
    ["focus", true],
    ["blur", false],
  ]) {
    roll.addEventListener(event, () => {
      focused = on;
      ask();
    });
  }

  // Drawing

  const [TOP, TALL, BOTTOM] = [18, 352, 18];
  let width = 0;
  let layoutNow = null;

  function layout() {
    const shown = [...piece.frames, ...model.get("opening")].flat();
    // Four octaves, or all keys where they do not suffice, at the same height.
    const [low, high] = Math.min(...shown) < 36 || Math.max(...shown) > 84 ? [21, 108] : [36, 84];
    const row = TALL / (high - low + 1);
    const [frames, given] = [total(), model.get("opening").length];
    const wide = Math.max(9, (width - KEYS - 4) / frames);
    const name = [low, high, frames, given, wide, model.get("model")].join();
    if (layoutNow?.name === name) return;
    layoutNow = { name, low, high, wide, row };
    const y = (pitch) => TOP + (high - pitch) * row;
    const size = (svg, w) => {
      svg.setAttribute("viewBox", `0 0 ${w} ${TOP + TALL + BOTTOM}`);
      svg.setAttribute("height", TOP + TALL + BOTTOM);
      svg.style.width = `${w}px`;
    };
    const whole = wide * frames;
    size(roll, whole);
    size(keys, KEYS);
    let [black, ebony, lines] = ["", "", ""];
    ground.replaceChildren();
    keys.replaceChildren();
    for (let pitch = low; pitch <= high; pitch++) {
      if (isBlack(pitch)) black += `M0 ${y(pitch)}h${whole}v${row}H0Z`;
      if (isBlack(pitch)) ebony += `M${KEYS - 16} ${y(pitch)}h11v${row}h-11Z`;
      if (pitch % 12) continue;
      lines += `M0 ${y(pitch) + row}h${whole}`;
      keys.append(shape("text", { x: KEYS - 20, y: y(pitch) + row, "text-anchor": "end" }, nameOf(pitch)));
    }
    keys.append(
      shape("path.dgm-mu-ivory", { d: `M${KEYS - 16} ${TOP}h16v${TALL}h-16Z` }),
      shape("path.dgm-mu-ebony", { d: ebony }),
    );
    ground.append(shape("path.dgm-mu-black", { d: black }), shape("path.dgm-grid", { d: lines }));
    for (let t = 0; t <= frames; t += 4) {
      if (t < frames) ground.append(shape("path.dgm-grid", { d: `M${t * wide} ${TOP}v${TALL}` }));
      if (t < frames && t % (wide < 14 ? 8 : 4) === 0)
        ground.append(shape("text", { x: t * wide + 2, y: TOP + TALL + 14 }, String(t + 1)));
    }
    ground.append(shape("path.dgm-mu-opening", { d: `M0 ${TOP}h${given * wide}v${TALL}H0Z` }));
    ground.append(shape("path.dgm-mu-edge", { d: `M${given * wide} ${TOP - 12}v${TALL + 12}` }));
    ground.append(shape("text", { x: 2, y: TOP - 6 }, given * wide > 55 ? "opening" : ""));
    ground.append(shape("text", { x: given * wide + 5, y: TOP - 6 }, `${model.get("model")} writes`));
  }

  // A bar leaves a hair free in front, so that notes struck anew stand apart.
  function barsOf(runs) {
    const { wide, high, row } = layoutNow;
    return runs
      .map(
        ([pitch, t, frames]) =>
          `M${(t * wide + 0.7).toFixed(1)} ${TOP + (high - pitch) * row + 0.5}h${(frames * wide - 1.2).toFixed(1)}v${row - 1}h${(1.2 - frames * wide).toFixed(1)}Z`,
      )
      .join("");
  }

  let painted = "";
  function draw() {
    if (!width) return false;
    const done = write();
    if (player) follow();
    at = Math.min(at, total() - 1);
    layout();
    const { wide, high, row } = layoutNow;
    const given = model.get("opening").length;
    const name = [wanted, piece.frames.length, done, layoutNow.name].join();
    if (painted !== name) {
      painted = name;
      parts.given.setAttribute("d", barsOf(runsOf(model.get("opening"), 0, given)));
      parts.made.setAttribute(
        "d",
        barsOf(runsOf(piece.frames, Math.min(given, piece.frames.length), piece.frames.length)),
      );
      if (done) finish();
      showControls();
    }
    parts.sounding.setAttribute("d", barsOf(sounding(at).map((pitch) => [pitch, at, 1])));
    const x = (at + glide) * wide;
    parts.head.setAttribute("d", `M${x} ${TOP - 4}v${TALL + 8}`);
    parts.cursor.setAttribute(
      "d",
      focused ? `M${cursor.t * wide} ${TOP + (high - cursor.pitch) * row}h${wide}v${row}h${-wide}Z` : "",
    );
    if (player && (x < holder.scrollLeft || x > holder.scrollLeft + holder.clientWidth - 20))
      holder.scrollLeft = x - 20;
    showFrame();
    return Boolean(player) || !done;
  }
  const ask = onceAFrame("dgm:chorale", draw);

  function showControls() {
    for (const [control, trait, words, aloud = words] of [
      [heat, "temperature", (v) => v.toFixed(2)],
      [tempo, "tempo", (v) => `${v} / min`, (v) => `${v} frames a minute`],
      [length, "length", String],
    ]) {
      control.input.value = model.get(trait);
      control.say(words(model.get(trait)), aloud(model.get(trait)));
    }
    where.input.max = total() - 1;
    who.show(model.get("model"));
    const same = (frames) => JSON.stringify(frames) === JSON.stringify(model.get("opening"));
    const found = openings.find(({ frames }) => same(frames));
    pick.value = found ? ` ${found.name}` : "own";
    roll.setAttribute(
      "aria-label",
      `Piano roll of ${total()} frames. Arrow keys move within the opening, Page Up and Down by octaves; Space turns a note on or off.`,
    );
  }

  let shown = "";
  let spoken = 0;
  function showFrame() {
    const name = [at, painted, Boolean(player)].join();
    if (name === shown) return;
    shown = name;
    const notes = inNotes(sounding(at));
    frameValue.textContent = `${at + 1} of ${total()}${at < model.get("opening").length ? ", opening" : ""}`;
    notesValue.textContent = notes;
    where.input.value = at;
    where.say(`${at + 1}`, `frame ${at + 1} of ${total()}: ${notes}`);
    frame.root.dataset.at = at;
    const now = performance.now();
    if (job || (player && now - spoken < 6000)) return;
    spoken = now;
    const nats = meanNats();
    speak(
      `Frame ${at + 1} of ${total()}: ${notes}. ${nats === null ? "" : `Mean ${number(nats, 3)} nats a frame.`}`,
    );
  }

  function finish() {
    const written = piece.frames.slice(model.get("opening").length);
    natsValue.replaceChildren(
      number(meanNats(), 3),
      element("small", `log-likelihood of the ${written.length} written frames, by ${PARTICLES} particles`),
    );
    const count = written.reduce((sum, pitches) => sum + pitches.length, 0) / written.length;
    perFrame.textContent = count.toFixed(1);
    frame.root.dataset.piece = JSON.stringify(piece.frames);
    frame.root.dataset.nats = JSON.stringify(piece.nats);
    if (JSON.stringify(model.get("piece")) === frame.root.dataset.piece) return;
    model.set("piece", piece.frames);
    model.save_changes();
  }

  const hush = () => document.hidden && stop();
  document.addEventListener("visibilitychange", hush);
  globalThis.addEventListener("pagehide", stop);
  const touched = () => {
    painted = "";
    ask();
  };
  for (const name of FOLLOWED) model.on(`change:${name}`, touched);
  el.append(frame.root);
  const stopWidth = onWidth(frame.picture, (w) => {
    width = w;
    ask();
  });
  return () => {
    stop();
    ask.stop();
    stopWidth();
    document.removeEventListener("visibilitychange", hush);
    globalThis.removeEventListener("pagehide", stop);
    for (const name of FOLLOWED) model.off(`change:${name}`, touched);
  };
}

const KEYS = 46; // px, of the keyboard beside the roll

export default { render };
