// The annealing of a reader's drawing, in a worker.

import { calm, number, withError } from "./frame.js";
import { work } from "./models/annealing.js";
import { last } from "./models/arrays.js";
import { inked } from "./models/drawing.js";
import { startHost } from "./worker.js";
import script from "./workers/annealing.js?script";

const PAUSE = 600; // ms after the pen is lifted, before the annealing starts
const CHECKING = "The same once more on an image that the model has made, upwards and downwards.";

/** @typedef {AnnealingEnd["check"]} Check */
/**
 * What is known of a drawing: points of its curve, and the check on an image of the model's own.
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
  const settings = () => ({ seed: w.get("seed"), temperatures: w.get("temperatures") });

  function begin() {
    job.forget();
    const strokes = w.get("drawing");
    if (!strokes.length) {
      job.note = "There is nothing drawn yet.";
      return speak(job.note);
    }
    const x = inked(strokes, height, width);
    w.save({ pixels: new DataView(Uint8Array.from(x, (v) => Math.round(255 * v)).buffer) });
    w.root.dataset.run = "running";
    job.note = "Tuning the step sizes.";
    speak("Annealing.");
    const request = {
      layers,
      x,
      betas,
      ...settings(),
      chains: w.get("chains"),
      leapfrogs: w.get("leapfrogs"),
    };
    host = startHost(script, work, receive, (own) => {
      host = own;
      own.send(request);
    });
    host.send(request);
    w.ask();
  }

  function receive(/** @type {AnnealingMessage} */ message) {
    const { points } = job.result;
    if ("progress" in message) job.progress = message.progress;
    else if ("index" in message) points[message.index] = message;
    else finish(message);
    if (host && points.length) {
      const at = `Annealing: \u03b2 = ${number(last(points).beta, 2)}.`;
      job.note = points.length < betas.length ? at : CHECKING;
    }
    if (!host || !calm() || points.length === betas.length) w.ask();
  }

  function finish(/** @type {AnnealingEnd} */ { check, seconds, picture }) {
    host = null;
    Object.assign(job.result, { check, seconds, own: picture });
    const { points } = job.result;
    /** @type {(name: keyof AnnealingPoint) => unknown[]} */
    const column = (name) => points.map((point) => point[name]);
    /** @type {Values} */
    const curve = { log_z: column("logZ"), codes: column("code"), ...settings(), seconds, check };
    for (const name of COLUMNS) curve[name] = column(name);
    const work = `${w.get("temperatures")} temperatures, ${w.get("chains")} chains`;
    job.note = `Done in ${seconds.toFixed(1)} s: ${work}.`;
    job.progress = 1;
    w.root.dataset.run = "done";
    w.root.dataset.result = JSON.stringify(curve);
    w.save({ curve });
    const { rate, distortion, logZ } = last(points);
    const bound = `log Z at least ${number(logZ, 5)}`;
    const says = `Rate ${number(rate)} nats, distortion ${number(distortion)}, ${bound}.`;
    const gap = `On the model\u2019s own image upper minus lower bound is ${gapInWords(check)}.`;
    speak(`${job.note} ${says} ${gap}`);
  }

  /** @type {Job} */
  const job = {
    result: nothing(),
    progress: 0,
    note: "",
    running: () => host !== null,
    halt(because = "") {
      clearTimeout(timer);
      host?.stop();
      host = null;
      job.progress = 0;
      job.note = because;
      w.root.dataset.run = because ? "stopped" : "idle";
      if (because) speak(because);
      w.ask();
    },
    // Away with what belongs to another drawing.
    forget() {
      job.halt();
      job.result = nothing();
      delete w.root.dataset.result;
      if (Object.keys(w.get("curve")).length) w.save({ curve: {} });
    },
    begin,
    soon() {
      timer = setTimeout(begin, PAUSE);
    },
    // A curve from Python, or from another view of this widget.
    adopt() {
      const { log_z: logZs = [], codes, check = null, seconds = 0, ...columns } = w.get("curve");
      const known = job.result.points.map((point) => point.logZ);
      if (host || same(logZs, known)) return;
      const points = logZs.map((/** @type {number} */ logZ, /** @type {number} */ index) => ({
        ...Object.fromEntries(COLUMNS.map((name) => [name, columns[name][index]])),
        ...{ index, logZ, code: codes[index] },
      }));
      job.result = { points, check, own: null, seconds };
      w.ask();
    },
  };
  return job;
}
/** @type {("beta" | "rate" | "distortion" | "ess" | "acceptance")[]} */
const COLUMNS = ["beta", "rate", "distortion", "ess", "acceptance"];
/**
 * @typedef {{ result: Result, progress: number, note: string, running(): boolean, halt(because?: string):
 *   void } & Record<"forget" | "begin" | "soon" | "adopt", () => void>} Job
 */
