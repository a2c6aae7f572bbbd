// Particles and the exact filter on z_1 ~ N(0, first), z_t = a z_{t-1} + N(0, q), x_t = z_t + N(0, r).

import { mulberry, STRIDE } from "./draws.js";

export const MOST = { particles: 64, steps: 40 };
const DRAWS = 3 * MOST.particles; // of one step: two for each particle's noise, one for its ancestor

// By its count, so that a number is known by its run, step and place alone.
const uniformOf = (/** @type {number} */ run, /** @type {number} */ step, /** @type {number} */ place) =>
  mulberry(Math.imul((run * MOST.steps + step) * DRAWS + place + 1, STRIDE));

function normalOf(/** @type {number} */ run, /** @type {number} */ step, /** @type {number} */ n) {
  const radius = Math.sqrt(-2 * Math.log(1 - uniformOf(run, step, 2 * n)));
  return radius * Math.cos(2 * Math.PI * uniformOf(run, step, 2 * n + 1));
}

// log p(x) in nats, and mean and deviation of each state given all up to its step.
/** @type {(system: System, x: number[]) => ParticleData["filtered"]} */
export function kalman({ a, q, r, first }, x) {
  let [m, p, logLikelihood] = [0, first, 0];
  /** @type {number[][]} */
  const [mean, deviation] = [[], []];
  for (const observed of x) {
    const s = p + r;
    const off = observed - m;
    logLikelihood -= (Math.log(2 * Math.PI * s) + (off * off) / s) / 2;
    m += (p / s) * off;
    p *= r / s;
    mean.push(m);
    deviation.push(Math.sqrt(p));
    [m, p] = [a * m, a * a * p + q];
  }
  return { logLikelihood, mean, deviation };
}

// Room for the particles of T steps: states, weights (summing to one) and parents, all (T, N); of each step
// its effective sample size, before resampling, and whether it was resampled.
/** @type {(T: number, N: number) => Cloud} */
export function makeCloud(T, N) {
  const [z, w, ess] = [T * N, T * N, T].map((length) => new Float64Array(length));
  return { T, N, z, w, parent: new Int32Array(T * N), ess, resampled: new Uint8Array(T) };
}

// Fills the cloud with one run's particles, which move as the prior does; returns the estimate of log p(x),
// nats.
/** @type {(system: System, x: number[], criterion: string, run: number, cloud: Cloud) => number} */
export function filterRun({ a, q, r, first }, x, criterion, run, cloud) {
  const { T, N, z, w, parent, ess, resampled } = cloud;
  const logW = new Float64Array(N);
  const [noise, start, level] = [Math.sqrt(q), Math.sqrt(first), Math.log(2 * Math.PI * r)];
  let estimate = 0;
  for (let t = 0, at = 0; t < T; t++, at += N) {
    const before = at - N;
    const anew = t > 0 && resampled[t - 1];
    let top = -Infinity;
    for (let n = 0; n < N; n++) {
      const from = anew ? drawnFrom(w, before, N, uniformOf(run, t - 1, 2 * MOST.particles + n)) : n;
      parent[at + n] = from;
      z[at + n] = t ? a * z[before + from] + noise * normalOf(run, t, n) : start * normalOf(run, t, n);
      if (anew) logW[n] = 0;
      logW[n] -= (level + (x[t] - z[at + n]) ** 2 / r) / 2;
      if (logW[n] > top) top = logW[n];
    }
    let [sum, squares] = [0, 0];
    for (let n = 0; n < N; n++) sum += w[at + n] = Math.exp(logW[n] - top);
    for (let n = 0; n < N; n++) {
      w[at + n] /= sum;
      squares += w[at + n] ** 2;
    }
    ess[t] = 1 / squares;
    const last = t === T - 1;
    resampled[t] = Number(!last && (criterion === "always" || (criterion === "ess" && ess[t] <= N / 2)));
    if (last || resampled[t]) estimate += top + Math.log(sum / N);
  }
  return estimate;
}

// Whose share of the weights holds u.
/** @type {(w: Float64Array, start: number, N: number, u: number) => number} */
function drawnFrom(w, start, N, u) {
  let n = 0;
  for (let sum = w[start]; sum <= u && n < N - 1; ) sum += w[start + ++n];
  return n;
}

// Of each particle, whether one of the last step descends from it: (T, N).
/** @type {(cloud: Pick<Cloud, "T" | "N" | "parent">) => Uint8Array} */
export function survivors({ T, N, parent }) {
  const alive = new Uint8Array(T * N).fill(1, (T - 1) * N);
  for (let at = (T - 1) * N; at > 0; at -= N)
    for (let n = 0; n < N; n++) if (alive[at + n]) alive[at - N + parent[at + n]] = 1;
  return alive;
}
