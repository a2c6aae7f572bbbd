// Points in a plane and lines as units: the signs of the points, their entropies, and moves that change BRE.

import { breTerms, makeDice } from "./gan.js";

export const WORLD = 1.5; // the plane is [-WORLD, WORLD]^2
export const UNITS = 12;

/** Kept inside the plane. @type {(v: number) => number} */
export const inside = (v) => +Math.max(-WORLD, Math.min(WORLD, v)).toFixed(4);

// Lines x cos t + y sin t = b as [cos t, sin t, -b].
export function linesOf(/** @type {number} */ seed) {
  const dice = makeDice(seed);
  return Array.from({ length: UNITS }, () => {
    const turn = 2 * Math.PI * dice.uniform();
    return [Math.cos(turn), Math.sin(turn), 1.4 * dice.uniform() - 0.7];
  });
}

// How far each point is beyond each of the first d lines, (K, d).
/** @type {(points: number[][], lines: number[][], d: number) => Doubles} */
export function activationsOf(points, lines, d) {
  const h = new Float64Array(points.length * d);
  for (const [k, [x, y]] of points.entries()) {
    for (let u = 0; u < d; u++) h[k * d + u] = lines[u][0] * x + lines[u][1] * y + lines[u][2];
  }
  return h;
}

/** Both ends of a line where it leaves the plane. @type {(line: number[]) => number[][]} */
export function endsOf([a, b, c]) {
  const ends = [];
  for (const edge of [-WORLD, WORLD]) {
    if (Math.abs(b) > 1e-9) ends.push([edge, -(a * edge + c) / b]);
    if (Math.abs(a) > 1e-9) ends.push([-(b * edge + c) / a, edge]);
  }
  const within = ends.filter((p) => p.every((v) => Math.abs(v) <= WORLD + 1e-9));
  within.sort((p, q) => -b * (p[0] - q[0]) + a * (p[1] - q[1]));
  return [within[0], within[within.length - 1]];
}

/** @type {(shares: number[]) => number} */
const entropy = (shares) => shares.reduce((sum, p) => (p > 0 ? sum - p * Math.log(p) : sum), 0);

// Of K points' signs: how many differ, their joint entropy, and the sum of the units' own.
export function entropiesOf(/** @type {Doubles} */ h, /** @type {number} */ K) {
  const d = h.length / K;
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (let k = 0; k < K; k++) {
    const word = Array.from(h.subarray(k * d, (k + 1) * d), (v) => (v > 0 ? "1" : "0")).join("");
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const alone = Array.from({ length: d }, (_, u) => {
    const on = Array.from({ length: K }, (_, k) => (h[k * d + u] > 0 ? 1 / K : 0)).reduce((a, b) => a + b);
    return entropy([on, 1 - on]);
  });
  const joint = entropy([...counts.values()].map((n) => n / K));
  return { distinct: counts.size, joint, alone: alone.reduce((a, b) => a + b) };
}

// Two heaps on opposite sides of the middle, in the direction in which the most lines part them.
/** @type {(K: number, lines: number[][], d: number, zeta: number) => number[][]} */
export function campsOf(K, lines, d, zeta) {
  const tried = Array.from({ length: 36 }, (_, t) => {
    const direction = [Math.cos((Math.PI * t) / 36), Math.sin((Math.PI * t) / 36)];
    const points = Array.from({ length: K }, (_, k) =>
      direction.map((v, c) => inside((k % 2 ? -1.2 : 1.2) * v + (c ? 0.07 : -0.07) * (k >> 1))),
    );
    return { points, balance: breTerms(activationsOf(points, lines, d), K, { zeta }).marginalEntropy };
  });
  return tried.reduce((best, camps) => (camps.balance < best.balance ? camps : best)).points;
}

// Two hundred random moves of one point each; a move stays where it lowers BRE.
/** @type {(points: number[][], lines: number[][], d: number, options: BreOptions) => number[][]} */
export function searched(points, lines, d, options) {
  const K = points.length;
  const dice = makeDice(Math.round(1e6 * Math.abs(points.flat().reduce((a, b) => 3 * a + b))));
  const cost = (/** @type {number[][]} */ tried) => {
    const terms = breTerms(activationsOf(tried, lines, d), K, options);
    return terms.marginalEntropy + terms.activationCorrelation;
  };
  let [best, least] = [points, cost(points)];
  for (let i = 0; i < 200; i++) {
    const k = Math.floor(K * dice.uniform());
    const trial = best.map((p, j) =>
      j === k ? [0, 1].map(() => inside(WORLD * (1.9 * dice.uniform() - 0.95))) : p,
    );
    const now = cost(trial);
    if (now < least) [best, least] = [trial, now];
  }
  return best;
}
