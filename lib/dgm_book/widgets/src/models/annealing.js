// Annealed importance sampling through a decoder, as in dgm/papers/rate_distortion.py.

import { last } from "./arrays.js";
import { diceOf } from "./draws.js";
import { layerIn, roomFor } from "./lstm.js";
import { applyLayer } from "./nn.js";

/** The generator sfc32. @type {(seed: number) => Dice} */
export function makeDice(seed) {
  let [a, b, c, turn] = [seed >>> 0, 0x9e3779b9, 0x243f6a88, 1];
  const word = () => {
    const t = (a + b + turn++) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + t) | 0;
    return t >>> 0;
  };
  for (let i = 0; i < 16; i++) word();
  return diceOf(() => (word() + 0.5) / 4294967296);
}

// The logistic function from a table of 32 a unit and three terms of its series: exact to float32, in a third
// of the time of Math.exp.
const LOGISTIC = Float64Array.from({ length: 1281 }, (_, i) => 1 / (1 + Math.exp(20 - i / 32)));
function logistic(/** @type {Float32Array} */ values) {
  for (let i = 0; i < values.length; i++) {
    const v = 32 * Math.min(20, Math.max(-20, values[i])) + 640;
    const k = (v + 0.5) | 0;
    const s = LOGISTIC[k];
    const u = (v - k) / 32;
    const slope = s * (1 - s);
    values[i] = s + u * slope * (1 + u * (0.5 - s + u * (1 / 6 - slope)));
  }
}

// Times the slope of the activation, which its output gives.
/** @type {(push: Float32Array, output: Float32Array, activation?: string) => void} */
function steepen(push, output, activation) {
  if (activation === "tanh") for (let i = 0; i < push.length; i++) push[i] *= 1 - output[i] * output[i];
  else if (activation === "sigmoid")
    for (let i = 0; i < push.length; i++) push[i] *= output[i] * (1 - output[i]);
  else if (activation === "relu") for (let i = 0; i < push.length; i++) push[i] *= output[i] > 0 ? 1 : 0;
}

// Layers of nn.js: images, and the gradient of |f(z) - x|^2 in z. Products in float32, energies in float64.
/** @type {(layers: Omit<Layer, "output">[]) => Decoder} */
export function makeDecoder(layers) {
  const sizes = layers.map(({ rows, columns }) => 2 * rows * columns + 4 * (rows + columns) + 32);
  const room = roomFor(sizes.reduce((a, b) => a + b));
  const { take } = room;
  const stack = layers.map(({ rows, columns, activation, weight, bias }) => {
    const across = take(rows * columns);
    for (let i = 0; i < across.length; i++) across[i] = weight[(i % rows) * columns + Math.floor(i / rows)];
    const own = activation === "sigmoid" ? "linear" : activation; // which `logistic` does
    const there = layerIn(take(rows * columns, weight), take(rows, bias), room, own);
    return { there, back: layerIn(across, take(columns), room), activation, push: take(rows) };
  });
  const code = take(stack[0].there.columns);
  const outputs = last(stack).push;

  /** @type {Decoder["forward"]} */
  function forward(z) {
    code.set(z);
    /** @type {Float32Array} */
    let output = code;
    for (const { there, activation } of stack) {
      output = applyLayer(there, output);
      if (activation === "sigmoid") logistic(output);
    }
    return output;
  }

  /** Fills in the energy and the gradient of a state at its code. @type {Decoder["evaluate"]} */
  function evaluate(x, state) {
    const image = forward(state.z);
    let energy = 0;
    for (let i = 0; i < image.length; i++) {
      const apart = image[i] - x[i];
      energy += apart * apart;
      outputs[i] = 2 * apart;
    }
    /** @type {Float32Array} */
    let push = outputs;
    for (let l = stack.length - 1; l >= 0; l--) {
      const { there, back, activation, push: own } = stack[l];
      if (push !== own) own.set(push);
      steepen(own, there.output, activation);
      push = applyLayer(back, own);
    }
    state.energy = energy;
    state.gradient.set(push);
    return state;
  }
  return { forward, evaluate, inputs: code.length, outputs: outputs.length };
}

// Chains at the codes that `place` fills in, with log-weight 0.
/** @type {(run: AnnealingRun, place: Place) => Ensemble} */
function makeChains({ decoder, x, chains: n, leapfrogs, dice }, place) {
  const zeros = () => new Float64Array(decoder.inputs);
  const state = () => ({ z: zeros(), energy: 0, gradient: zeros() });
  const chains = Array.from({ length: n }, () => {
    const now = state();
    place(now.z);
    return { now: decoder.evaluate(x, now), trial: state(), logWeight: 0, p: zeros() };
  });
  return { decoder, x, chains, leapfrogs, dice };
}

// -log p(z) + beta E(z) + |p|^2 / 2, up to a constant.
/** @type {(state: ChainState, p: Float64Array, beta: number) => number} */
function hamiltonian({ z, energy }, p, beta) {
  let total = beta * energy;
  for (let i = 0; i < z.length; i++) total += 0.5 * (z[i] * z[i] + p[i] * p[i]);
  return total;
}

// One Metropolis-adjusted transition of each chain at beta; returns the mean acceptance. Each chain's step is
// its own share of `size`, drawn anew: paths of one length would bring some directions back to their start.
/** @type {(ensemble: Ensemble, beta: number, size: number) => number} */
function transition({ decoder, x, chains, leapfrogs, dice }, beta, size) {
  let accepted = 0;
  for (const chain of chains) {
    const { now, trial, p } = chain;
    const length = size * (0.5 + 0.7 * dice.uniform());
    const { z, gradient } = trial;
    dice.normals(p);
    const before = hamiltonian(now, p, beta);
    z.set(now.z);
    gradient.set(now.gradient);
    for (let step = 0; step <= leapfrogs; step++) {
      const kick = step % leapfrogs ? length : 0.5 * length;
      for (let i = 0; i < z.length; i++) p[i] -= kick * (z[i] + beta * gradient[i]);
      if (step === leapfrogs) break;
      for (let i = 0; i < z.length; i++) z[i] += length * p[i];
      decoder.evaluate(x, trial);
    }
    const chance = Math.exp(Math.min(0, before - hamiltonian(trial, p, beta))) || 0; // NaN is refused
    accepted += chance;
    if (dice.uniform() < chance) Object.assign(chain, { now: trial, trial: now });
  }
  return accepted / chains.length;
}

// log w -= (to - from) E, before the transition at `to`; downwards as well as upwards.
function weigh(/** @type {Chain[]} */ chains, /** @type {number} */ from, /** @type {number} */ to) {
  for (const chain of chains) chain.logWeight -= (to - from) * chain.now.energy;
}

function logMeanWeight(/** @type {Chain[]} */ chains) {
  const most = Math.max(...chains.map((chain) => chain.logWeight));
  const sum = chains.reduce((total, { logWeight }) => total + Math.exp(logWeight - most), 0);
  return most + Math.log(sum / chains.length);
}

// The standard error of logMeanWeight, from the scatter of the chains' weights.
function logMeanError(/** @type {Chain[]} */ chains) {
  const mean = logMeanWeight(chains);
  const squares = chains.reduce((sum, { logWeight }) => sum + (Math.exp(logWeight - mean) - 1) ** 2, 0);
  return Math.sqrt(squares / chains.length / (chains.length - 1));
}

// From 0 through all of `betas`, about so many temperatures in all, evenly in asinh(beta / scale).
/** @type {(betas: number[], temperatures: number, scale: number) => { betas: number[], stops: number[] }} */
function schedule(betas, temperatures, scale) {
  const warped = [0, ...betas.map((beta) => Math.asinh(beta / scale))];
  const all = [0];
  const stops = betas.map((beta, r) => {
    const length = warped[r + 1] - warped[r];
    const steps = Math.max(1, Math.round((temperatures * length) / last(warped)));
    for (let s = 1; s < steps; s++) all.push(scale * Math.sinh(warped[r] + (s * length) / steps));
    return all.push(beta) - 1;
  });
  return { betas: all, stops };
}

// A quarter as many temperatures, which tune the step size: it is frozen before the chains that count.
/** @type {(run: AnnealingRun) => Generator<void, Plan>} */
function* pilot(run) {
  const { betas, temperatures, leapfrogs, dice } = run;
  const ensemble = makeChains(run, dice.normals);
  const energies = ensemble.chains.map(({ now }) => now.energy);
  const mean = energies.reduce((a, b) => a + b) / energies.length;
  const spread = Math.sqrt(energies.reduce((a, e) => a + (e - mean) ** 2, 0) / (energies.length - 1));
  const scale = 1 / Math.max(spread, 1e-12);
  const path = schedule(betas, temperatures / 4, scale).betas;
  /** @type {number[][]} */
  const [at, logSize] = [[], []];
  const most = Math.PI / 2 / leapfrogs; // a quarter of a turn about the prior
  let size = Math.min(0.1, most);
  for (const beta of [...Array(20).fill(path[1]), ...path.slice(1)]) {
    const missed = transition(ensemble, beta, size) - 0.65;
    size = Math.min(most, Math.max(1e-6, size * Math.exp(0.5 * missed)));
    at.push(Math.log(beta));
    logSize.push(Math.log(size));
    yield;
  }
  // Linear between the betas of the pilot, in logarithms.
  const sizeAt = (/** @type {number} */ beta) => {
    const where = Math.log(beta);
    let k = at.findIndex((v) => v >= where);
    if (k < 1) k = k < 0 ? at.length - 1 : 1;
    const mix = Math.min(1, Math.max(0, (where - at[k - 1]) / (at[k] - at[k - 1] || 1)));
    return Math.exp(logSize[k - 1] + mix * (logSize[k] - logSize[k - 1]));
  };
  const plan = schedule(betas, temperatures, scale);
  return { ...plan, sizes: plan.betas.map((beta) => (beta > 0 ? sizeAt(beta) : 0)) };
}

// What the chains say at beta, for an image: log Z, D and R, effective sample size, and one code drawn by
// weight.
/** @type {(chains: Chain[], beta: number, share: number) => Estimate} */
function estimate(chains, beta, share) {
  const logZ = logMeanWeight(chains);
  let [distortion, squares, chosen] = [0, 0, last(chains)];
  for (const chain of chains) {
    const weight = Math.exp(chain.logWeight - logZ) / chains.length;
    distortion += weight * chain.now.energy;
    squares += weight * weight;
    if (share >= 0 && share < weight) chosen = chain;
    share -= weight;
  }
  const rate = -logZ - beta * distortion;
  return { beta, logZ, distortion, rate, ess: 1 / squares, code: Array.from(chosen.now.z) };
}

// The curve of an image: anneals upwards, and reports each recorded beta.
/** @type {(run: AnnealingRun, plan: Plan, report: (point: AnnealingPoint) => void) => Course} */
function* forward(run, plan, report) {
  const ensemble = makeChains(run, run.dice.normals);
  const { chains } = ensemble;
  const share = run.dice.uniform();
  let [acceptance, since, index] = [0, 0, 0];
  for (let j = 1; j < plan.betas.length; j++) {
    const beta = plan.betas[j];
    weigh(chains, plan.betas[j - 1], beta);
    acceptance += transition(ensemble, beta, plan.sizes[j]);
    if (plan.stops[index] === j) {
      report({ ...estimate(chains, beta, share), acceptance: acceptance / (j - since), index: index++ });
      [acceptance, since] = [0, j];
    }
    yield;
  }
  return [logMeanWeight(chains), logMeanError(chains)];
}

// Downwards from the exact sample z: the upper bound of log Z at the last beta.
/** @type {(run: AnnealingRun, plan: Plan, z: Float64Array) => Course} */
function* reverse(run, { betas, sizes }, z) {
  const ensemble = makeChains(run, (into) => into.set(z));
  const { chains } = ensemble;
  for (let j = betas.length - 2; j >= 0; j--) {
    weigh(chains, betas[j + 1], betas[j]);
    if (j > 0) transition(ensemble, betas[j], sizes[j - 1] || sizes[j]);
    yield;
  }
  return [-logMeanWeight(chains), logMeanError(chains)];
}

// An image of the model itself, f(z) + N(0, I / (2 beta)), of which z is an exact sample of q_beta.
/** @type {(decoder: Decoder, beta: number, dice: Dice) => { x: Float64Array, z: Float64Array }} */
export function simulate(decoder, beta, dice) {
  const z = dice.normals(new Float64Array(decoder.inputs));
  const x = dice.normals(new Float64Array(decoder.outputs));
  const means = decoder.forward(z);
  for (let i = 0; i < x.length; i++) x[i] = means[i] + x[i] / Math.sqrt(2 * beta);
  return { x, z };
}

// The whole job: the curve of the drawing, then both bounds of an image of the model.
/** @type {(request: AnnealingRequest, report: (message: AnnealingMessage) => void) => Generator<void>} */
function* stages({ layers, x, seed, ...settings }, report) {
  const start = performance.now();
  const decoder = makeDecoder(layers);
  const dice = [0, 1, 2, 3, 4].map((k) => makeDice(8 * seed + k));
  const drawing = (/** @type {number} */ k) => ({ ...settings, decoder, x, dice: dice[k] });
  yield* forward(drawing(1), yield* pilot(drawing(0)), report);
  const beta = last(settings.betas);
  const { x: image, z } = simulate(decoder, beta, dice[2]);
  const own = { ...drawing(4), x: image };
  const plan = yield* pilot({ ...own, dice: dice[3] });
  const [lower, below] = yield* forward(own, plan, () => {});
  const [upper, above] = yield* reverse(own, plan, z);
  const check = { beta, lower, upper, error: Math.hypot(below, above) };
  report({ check, picture: Float32Array.from(image), seconds: (performance.now() - start) / 1000 });
}

// A temperature a turn, and now and then how much is done.
/** @type {(request: AnnealingRequest, report: (message: AnnealingMessage) => void) => Generator<void>} */
export function* work(request, report) {
  const all = 3.5 * request.temperatures + 40;
  let [turns, reported] = [0, performance.now()];
  for (const _ of stages(request, report)) {
    turns++;
    if (performance.now() - reported > 60) {
      reported = performance.now();
      report({ progress: Math.min(1, turns / all) });
    }
    yield;
  }
}
