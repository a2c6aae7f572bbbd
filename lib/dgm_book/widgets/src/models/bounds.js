// Batches of correlated Gaussian pairs, and what each bound makes of them with the best critic.

import { mulberry, normalsFrom, STRIDE } from "./draws.js";

export const MOST = { pairs: 256, dimensions: 20 };

/** @type {(setting: { rho: number, d: number }) => number} */
export const exactInformation = ({ rho, d }) => (-d / 2) * Math.log1p(-rho * rho) + 0;

/** By its count, so that a batch is drawn by its number alone; (2, 256, 20). @param {number} batch */
export function normalsOf(batch) {
  const out = new Float64Array(2 * MOST.pairs * MOST.dimensions);
  return normalsFrom(out, (i) => mulberry(Math.imul(batch * out.length + i + 1, STRIDE)));
}

// The log density ratio of every x with every y into scores (n, n), its own on the diagonal.
/** @type {(normals: Float64Array, setting: Setting, scores: Float64Array) => void} */
export function criticScores(normals, { rho, d, n }, scores) {
  const wide = MOST.dimensions;
  const noise = MOST.pairs * wide;
  const spread = Math.sqrt(1 - rho * rho);
  const [a, b] = [(rho * rho) / (2 - 2 * rho * rho), rho / (1 - rho * rho)];
  const y = new Float64Array(n * d);
  const bias = new Float64Array(n); // what y adds by itself
  for (let j = 0; j < n; j++) {
    for (let k = 0; k < d; k++) {
      const v = rho * normals[j * wide + k] + spread * normals[noise + j * wide + k];
      y[j * d + k] = v;
      bias[j] -= a * v * v;
    }
  }
  const x = new Float64Array(d);
  const exact = exactInformation({ rho, d });
  for (let i = 0, at = 0; i < n; i++) {
    let own = exact;
    for (let k = 0; k < d; k++) {
      const v = normals[i * wide + k];
      own -= a * v * v;
      x[k] = b * v;
    }
    for (let j = 0, place = 0; j < n; j++, at++) {
      let sum = own + bias[j];
      for (let k = 0; k < d; k++, place++) sum += x[k] * y[place];
      scores[at] = sum;
    }
  }
}

const softplus = (/** @type {number} */ t) => Math.max(t, 0) + Math.log1p(Math.exp(-Math.abs(t)));
/** @type {(a: number, b: number) => number} */
const logAdd = (a, b) => Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)));

// The four estimates of one batch, from scores (n, n).
export function boundsOf(/** @type {Float64Array} */ scores, /** @type {number} */ n) {
  let [joint, nce, own, other, all] = [0, 0, 0, 0, -Infinity];
  for (let i = 0; i < n; i++) {
    const [start, end, mine] = [i * n, i * n + n, i * n + i];
    let most = -Infinity;
    for (let at = start; at < end; at++) if (at !== mine && scores[at] > most) most = scores[at];
    let sum = 0;
    let product = 1; // of 1 + e^T: one logarithm for many softplus
    for (let at = start; at < end; at++) {
      if (at === mine) continue;
      const t = scores[at];
      if (t - most > -40) sum += Math.exp(t - most);
      if (t > 30) other += t;
      else if (t > -40) product *= 1 + Math.exp(t);
      if (product > 1e280) {
        other += Math.log(product);
        product = 1;
      }
    }
    other += Math.log(product);
    const row = most + Math.log(sum);
    all = logAdd(all, row);
    joint += scores[mine];
    nce += scores[mine] - logAdd(scores[mine], row);
    own += softplus(-scores[mine]);
  }
  const pairs = n * (n - 1);
  const logMean = all - Math.log(pairs);
  const loss = own / n + other / pairs;
  return [joint / n - logMean, joint / n + 1 - Math.exp(logMean), Math.log(n) + nce / n, Math.LN2 - loss / 2];
}
