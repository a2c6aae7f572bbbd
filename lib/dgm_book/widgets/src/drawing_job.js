// The annealing of a reader's drawing, in a worker.

import { calm, number, withError } from "./frame.js";
import { work } from "./models/annealing.js";
import { last } from "./models/arrays.js";
import { inked } from "./models/drawing.js";
import { startHost } from "./worker.js";
import script from "./workers/annealing.js?script";

const PAUSE = 600; // ms after the pen is lifted, before the annealing starts
const AGAIN = "The same once more on an image that the model has made, upwards and downwards.";

/** @typedef {AnnealingEnd["check"]} Check */
/** What is known of a drawing: points of its curve, and the check on an image of the model's own. */
/**
 * @typedef {{ points: AnnealingPoint[], check: Check | null, own: Float32Array | null, seconds: number }}
 *   Result
 */

/** @type {(a: unknown, b: unknown) => boolean} */
export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
/** @type {() => Result} */
const nothing = () => ({ points: [], check: null, own: null, seconds: 0 });

/** The error is what the scatter of the chains gives. @type {(check: Check) => string} */
export function gapInWords({ lower, upper, error }) {
  const gap = upper - lower;
  const small = Math.abs(gap) < 2 * error ? ", not to be told from 0" : "";
  return `${withError(gap, error)} nats (one standard error)${small}`;
}

// The annealing of the reader's drawing, in a worker.
/** @type {(w: Widget, network: Network, speak: (text: string) => void) => Job} */
export function makeJob(w, network, speak) {
  // Copies, since a view would take all the models of the page along to the worker.
  const layers = network.layers.map(({ rows, columns, activation, weight, bias }) => {
    return { rows, columns, activation, weight: weight.slice(), bias: bias.slice() };
  });
  const [height, width] = w.get("image_shape");
  /** @type {number[]} */
  const betas = w.get("betas");
  /** @type {ReturnType<typeof startHost> | null} */
  let host = null;
  let timer = 0;
  /** @type {Job} */
  const job = {
    result: nothing(),
    progress: 0,
    note: "",
    running: () => host !== null,
    halt,
    forget,
    begin,
    soon,
    adopt,
  };

  /** @type {Job["halt"]} */
  function halt(because = "") {
    clearTimeout(timer);
    host?.stop();
    host = null;
    job.progress = 0;
    job.note = because;
    w.root.dataset.run = because ? "stopped" : "idle";
    if (because) speak(because);
    w.ask();
  }
  // Away with what belongs to another drawing.
  function forget() {
    halt();
    job.result = nothing();
    delete w.root.dataset.result;
    if (Object.keys(w.get("curve")).length) w.save({ curve: {} });
  }
  function begin() {
    forget();
    const strokes = w.get("drawing");
    if (!strokes.length) {
      job.note = "There is nothing drawn yet.";
      speak(job.note);
      return;
    }
    const x = inked(strokes, height, width);
    w.save({ pixels: new DataView(Uint8Array.from(x, (v) => Math.round(255 * v)).buffer) });
    w.root.dataset.run = "running";
    job.note = "Tuning the step sizes.";
    speak("Annealing.");
    const [seed, temperatures, chains, leapfrogs] = ["seed", "temperatures", "chains", "leapfrogs"].map(
      (name) => w.get(name),
    );
    const request = { layers, x, betas, seed, temperatures, chains, leapfrogs };
    host = startHost(script, work, receive, (own) => {
      host = own;
      own.send(request);
    });
    host.send(request);
    w.ask();
  }
  function soon() {
    timer = setTimeout(begin, PAUSE);
  }

  /** @type {(message: AnnealingMessage) => void} */
  function receive(message) {
    const { points } = job.result;
    if ("progress" in message) job.progress = message.progress;
    else if ("index" in message) points[message.index] = message;
    else finish(message);
    if (host && points.length) {
      const at = `Annealing: \u03b2 = ${number(last(points).beta, 2)}.`;
      job.note = points.length < betas.length ? at : AGAIN;
    }
    if (!host || !calm() || points.length === betas.length) w.ask();
  }

  /** @type {(end: AnnealingEnd) => void} */
  function finish({ check, seconds, picture }) {
    host = null;
    Object.assign(job.result, { check, seconds, own: picture });
    const { points } = job.result;
    /** @type {<K extends keyof AnnealingPoint>(name: K) => AnnealingPoint[K][]} */
    const column = (name) => points.map((point) => point[name]);
    const [beta, rate, distortion] = [column("beta"), column("rate"), column("distortion")];
    const more = { ess: column("ess"), acceptance: column("acceptance"), codes: column("code") };
    const settings = { seed: w.get("seed"), temperatures: w.get("temperatures"), seconds, check };
    const curve = { beta, rate, distortion, log_z: column("logZ"), ...more, ...settings };
    const { temperatures } = settings;
    job.note = `Done in ${seconds.toFixed(1)} s: ${temperatures} temperatures, ${w.get("chains")} chains.`;
    job.progress = 1;
    w.root.dataset.run = "done";
    w.root.dataset.result = JSON.stringify(curve);
    w.save({ curve });
    const end = last(points);
    const bound = `log Z at least ${number(end.logZ, 5)}`;
    const says = `Rate ${number(end.rate)} nats, distortion ${number(end.distortion)}, ${bound}.`;
    speak(
      `${job.note} ${says} On the model\u2019s own image upper minus lower bound is ${gapInWords(check)}.`,
    );
  }

  // A curve from Python, or from another view of this widget.
  function adopt() {
    const curve = w.get("curve");
    const logZs = /** @type {number[]} */ (curve.log_z ?? []);
    if (
      host ||
      same(
        logZs,
        job.result.points.map((point) => point.logZ),
      )
    )
      return;
    const points = logZs.map((logZ, k) => {
      const [beta, rate, distortion] = [curve.beta[k], curve.rate[k], curve.distortion[k]];
      const code = curve.codes[k];
      return {
        index: k,
        beta,
        logZ,
        rate,
        distortion,
        ess: curve.ess[k],
        acceptance: curve.acceptance[k],
        code,
      };
    });
    job.result = { points, check: curve.check ?? null, own: null, seconds: curve.seconds ?? 0 };
    w.ask();
  }
  return job;
}
/**
 * @typedef {{ result: Result, progress: number, note: string, running(): boolean, halt(because?: string):
 *   void, forget(): void, begin(): void, soon(): void, adopt(): void }} Job
 */
