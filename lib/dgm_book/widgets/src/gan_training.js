// The training of two GANs, in a worker: one job after the other.

import { BINS } from "./gan_pictures.js";
import { last } from "./models/arrays.js";
import { ganHost } from "./models/gan_trainer.js";
import { startHost } from "./worker.js";
import script from "./workers/gan.js?script";

const [BATCH, SHOWN, ARROWS] = [128, 400, 40];

/** @type {(w: Widget) => GanTarget} */
export function targetOf(w) {
  /** @type {GanTarget[]} */
  const targets = w.get("targets");
  return targets.find(({ name }) => name === w.get("target")) ?? targets[0];
}
/** How far the plane reaches. @type {(target: GanTarget) => number} */
export const reachOf = ({ centres, sigma }) =>
  1.3 * Math.max(...centres.flat().map(Math.abs), 0.5) + 3 * sigma;

// The training, in a worker: one job after the other.
/**
 * @type {(w: Widget, view: { speed: number, layer: number }, acts: { ask(): void, soon(): void }) =>
 *   Training}
 */
export function makeTraining(w, view, { ask, soon }) {
  const steps = w.get("steps");
  let [busy, inView, restart, look] = [false, true, true, false];
  let [generation, asked, measured] = [0, 0, 0];
  let [run, judged] = ["", NaN];
  /** @type {ReturnType<typeof startHost> | null} */
  let host = null;
  /** @type {Training} */
  const me = {
    shot: null,
    losses: [],
    playing: false,
    owed: 0,
    over,
    alone,
    begin,
    changed,
    pump,
    open,
    stop,
  };

  function over() {
    return me.shot?.panels.every((panel) => panel.stopped) ?? false;
  }
  function alone() {
    return host?.alone ?? false;
  }
  const runOf = () => [w.get("target"), w.get("seed"), w.get("width")].join();
  // Another target, seed or width begins a new run; whatever else is chosen holds from the next step on.
  function changed() {
    if (runOf() !== run) return begin();
    ask();
    if (!me.playing && w.get("margin") !== judged) pump(true);
  }
  function begin() {
    run = runOf();
    generation++;
    restart = true;
    me.owed = 0;
    const bins = () => new Float64Array(BINS);
    me.losses = [0, 1].map(() => ({ d: bins(), g: bins(), n: new Uint16Array(BINS) }));
    pump(true);
  }

  // Sends the next job as soon as the last one is answered; `again` asks for a picture without a step.
  function pump(again = false) {
    look ||= again;
    if (busy || !host) return;
    const moving = me.playing && inView && !document.hidden;
    if (!restart && !me.owed && !moving && !look) return;
    const target = targetOf(w);
    const [weight, margin, rate, decay] = ["weight", "margin", "rate", "decay"].map((name) => w.get(name));
    const sizes = {
      seed: w.get("seed"),
      width: w.get("width"),
      batch: BATCH,
      steps,
      shown: SHOWN,
      arrows: ARROWS,
    };
    const { centres, sigma } = target;
    busy = true;
    asked = generation;
    judged = margin;
    host.send({
      begin: restart ? { centres, sigma, limit: reachOf(target), ...sizes } : null,
      count: restart ? 0 : me.owed || (moving ? view.speed : 0),
      settings: { w: weight, margin, rate, decay },
      layer: view.layer,
    });
    if (!restart) me.owed = 0;
    restart = false;
    look = false;
  }

  /** @type {(panels: GanPanel[]) => void} */
  function note(panels) {
    for (const [p, { trace }] of panels.entries()) {
      const { d, g, n } = me.losses[p];
      for (let i = 0; i < trace.length; i += 3) {
        const bin = Math.min(BINS - 1, Math.floor((BINS * (trace[i] - 1)) / steps));
        d[bin] += trace[i + 1];
        g[bin] += trace[i + 2];
        n[bin]++;
      }
    }
  }
  /** @type {(answer: GanAnswer) => void} */
  function receive(answer) {
    busy = false;
    if (asked !== generation) return pump(true);
    me.shot = answer;
    note(answer.panels);
    if (steps - answer.step <= 0 || over()) me.playing = false;
    measured += answer.times.length;
    if (measured > 20000) {
      performance.clearMeasures("dgm-step:gan");
      measured = 0;
    }
    for (const duration of answer.times) {
      performance.measure("dgm-step:gan", { start: performance.now() - duration, duration });
    }
    if (me.playing) soon();
    else ask();
  }
  function open() {
    host = startHost(script, ganHost(), receive, (own) => {
      host = own;
      busy = false;
      const rest = me.owed;
      begin();
      me.owed = rest;
    });
    begin();
  }
  const views = new IntersectionObserver((entries) => {
    inView = last(entries).isIntersecting;
    pump();
  });
  views.observe(w.root);
  const seen = () => pump();
  document.addEventListener("visibilitychange", seen);
  function stop() {
    host?.stop();
    views.disconnect();
    document.removeEventListener("visibilitychange", seen);
  }
  return me;
}
/**
 * @typedef {{ shot: GanSnapshot | null, losses: GanLosses[], playing: boolean, owed: number, over():
 *   boolean, alone(): boolean, begin(): void, changed(): void, pump(again?: boolean): void, open(): void,
 *   stop(): void }} Training
 */
