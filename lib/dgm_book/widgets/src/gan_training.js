// The training of two GANs, in a worker: one job after the other.

import { BINS } from "./gan_pictures.js";
import { last } from "./models/arrays.js";
import { ganHost } from "./models/gan_trainer.js";
import { startHost } from "./worker.js";
import script from "./workers/gan.js?script";

const SIZES = { batch: 128, shown: 400, arrows: 40 };

/** Steps a frame, and the layer whose cells are shown. @typedef {Record<"speed" | "layer", number>} View */

export function targetOf(/** @type {Widget} */ w) {
  /** @type {GanTarget[]} */
  const targets = w.get("targets");
  return targets.find(({ name }) => name === w.get("target")) ?? targets[0];
}
/** How far the plane reaches. @type {(target: GanTarget) => number} */
export const reachOf = ({ centres, sigma }) =>
  1.3 * Math.max(...centres.flat().map(Math.abs), 0.5) + 3 * sigma;

// `ask` draws all anew, `soon` only what changes with each step.
/** @type {(w: Widget, view: View, acts: { ask(): void, soon(): void }) => Training} */
export function makeTraining(w, view, { ask, soon }) {
  const steps = w.get("steps");
  let [busy, inView, restart, look] = [false, true, true, false];
  let [generation, asked, measured] = [0, 0, 0];
  let [run, judged] = ["", NaN];
  /** @type {ReturnType<typeof startHost> | null} */
  let host = null;
  const over = () => me.shot?.panels.every((panel) => panel.stopped) ?? false;
  const runNow = () => [w.get("target"), w.get("seed"), w.get("width")].join();
  // Another target, seed or width begins a new run; whatever else is chosen holds from the next step on.
  function changed() {
    if (runNow() !== run) return begin();
    ask();
    if (!me.playing && w.get("margin") !== judged) pump(true);
  }
  function begin() {
    run = runNow();
    generation++;
    restart = true;
    me.owed = 0;
    const bins = () => new Float64Array(BINS);
    me.losses = [0, 1].map(() => ({ d: bins(), g: bins(), n: new Uint16Array(BINS) }));
    pump(true);
  }

  // Sends the next job as soon as the last one is answered; `anew` asks for a picture without a step.
  function pump(anew = false) {
    look ||= anew;
    const plays = me.playing && inView && !document.hidden;
    if (busy || !host || !(restart || me.owed || plays || look)) return;
    const target = targetOf(w);
    const { centres, sigma } = target;
    const [seed, width, margin] = ["seed", "width", "margin"].map((name) => w.get(name));
    const settings = { w: w.get("weight"), margin, rate: w.get("rate"), decay: w.get("decay") };
    const count = restart ? 0 : me.owed || (plays ? view.speed : 0);
    const config = { centres, sigma, limit: reachOf(target), seed, width, steps, ...SIZES };
    [busy, asked, judged] = [true, generation, margin];
    host.send({ begin: restart ? config : null, count, settings, layer: view.layer });
    if (!restart) me.owed = 0;
    [restart, look] = [false, false];
  }

  function note(/** @type {GanPanel[]} */ panels) {
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
  function measure(/** @type {number[]} */ times) {
    measured += times.length;
    if (measured > 20000) {
      performance.clearMeasures("dgm-step:gan");
      measured = 0;
    }
    for (const duration of times) {
      performance.measure("dgm-step:gan", { start: performance.now() - duration, duration });
    }
  }
  function receive(/** @type {GanAnswer} */ answer) {
    busy = false;
    if (asked !== generation) return pump(true);
    me.shot = answer;
    note(answer.panels);
    measure(answer.times);
    if (steps - answer.step <= 0 || over()) me.playing = false;
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
  const resume = () => pump();
  document.addEventListener("visibilitychange", resume);
  function stop() {
    host?.stop();
    views.disconnect();
    document.removeEventListener("visibilitychange", resume);
  }
  const alone = () => host?.alone ?? false;
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
  return me;
}
/**
 * @typedef {{ shot: GanSnapshot | null, losses: GanLosses[], playing: boolean, owed: number } &
 *   Record<"over" | "alone", () => boolean> & Record<"begin" | "changed" | "open" | "stop", () => void> &
 *   { pump(anew?: boolean): void }} Training
 */
