// The switching linear system in the page, exact Bayes about it, and a model that follows it.

import { last } from "./arrays.js";
import { fillNormals, fillUniforms } from "./draws.js";
import { hyperFilter, LOG_ROOT } from "./hyper_rnn.js";

export const STREAM = { system: 0, choice: 1, prior: 2, posterior: 3, resampling: 4 };
const SPANS = [
  0.1, 0.15, 0.25, 0.4, 0.6, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024,
  4096, 16384, 65536,
];
export const spanFor = (/** @type {number} */ most) => SPANS.find((top) => top >= most) ?? last(SPANS);

// What the schedule, rows [t, W, sigma] that ascend, says of step t.
export function inForce(/** @type {Schedule} */ schedule, /** @type {number} */ t) {
  let i = schedule.length - 1;
  while (i > 0 && schedule[i][0] > t) i -= 1;
  return { which: schedule[i][1], sigma: schedule[i][2], changed: i > 0 && schedule[i][0] === t };
}

// x_t = W x_{t-1} + sigma e_t; where x has grown past the bound it starts anew, `fresh`, uniform on [-1,
// 1]^2.
/** @type {(matrices: Matrix[], bound: number, seed: number) => SwitchingSystem} */
export function switchingSystem(matrices, bound, seed) {
  const draws = new Float64Array(2);
  const me = { x: new Float64Array(2), before: new Float64Array(2), fresh: true, step };

  function step(/** @type {number} */ t, /** @type {number} */ which, /** @type {number} */ sigma) {
    me.before.set(me.x);
    me.fresh = t === 0 || !(Math.max(Math.abs(me.x[0]), Math.abs(me.x[1])) <= bound);
    if (me.fresh) {
      fillUniforms(draws, seed, STREAM.system, t);
      me.x[0] = 2 * draws[0] - 1;
      me.x[1] = 2 * draws[1] - 1;
      return;
    }
    fillNormals(draws, seed, STREAM.system, t);
    const [a, b] = matrices[which];
    for (let d = 0; d < 2; d++)
      me.x[d] = (d ? b : a)[0] * me.before[0] + (d ? b : a)[1] * me.before[1] + sigma * draws[d];
  }

  return me;
}

// Exact Bayes where each step W and sigma each change with probability `hazard`, to any other value alike.
/** @type {(matrices: Matrix[], deviations: number[], hazard: number) => ExactBayes} */
export function exactBayes(matrices, deviations, hazard) {
  const [K, J] = [matrices.length, deviations.length];
  const joint = new Float64Array(K * J);
  const logs = new Float64Array(K * J);
  const me = { posterior: new Float64Array(K), increment: 0, step };

  // Moves probability between n values, `stride` apart from `start` on.
  function stir(/** @type {number} */ start, /** @type {number} */ stride, /** @type {number} */ n) {
    if (n < 2) return;
    let sum = 0;
    for (let i = 0; i < n; i++) sum += joint[start + i * stride];
    const from = hazard / (n - 1);
    for (let i = 0; i < n; i++)
      joint[start + i * stride] = (1 - hazard - from) * joint[start + i * stride] + from * sum;
  }

  /** @type {(before: Float64Array, x: Float64Array, fresh: boolean) => void} */
  function step(before, x, fresh) {
    if (fresh) {
      joint.fill(1 / (K * J));
      me.posterior.fill(1 / K);
      me.increment = -Math.log(4);
      return;
    }
    for (let j = 0; j < J; j++) stir(j, J, K);
    for (let k = 0; k < K; k++) stir(k * J, 1, J);
    for (let i = 0; i < logs.length; i++) {
      const [[a, b], [c, d]] = matrices[Math.floor(i / J)];
      const sigma = deviations[i % J];
      const square =
        (x[0] - a * before[0] - b * before[1]) ** 2 + (x[1] - c * before[0] - d * before[1]) ** 2;
      logs[i] = Math.log(joint[i]) - (0.5 * square) / sigma ** 2 - 2 * Math.log(sigma) - 2 * LOG_ROOT;
    }
    const top = Math.max(...logs);
    let sum = 0;
    for (let i = 0; i < logs.length; i++) sum += joint[i] = Math.exp(logs[i] - top);
    me.posterior.fill(0);
    for (let i = 0; i < joint.length; i++) me.posterior[Math.floor(i / J)] += joint[i] /= sum;
    me.increment = top + Math.log(sum);
  }

  return me;
}

// A model that predicts each x and then reads it, with draws that only the seed and the step decide.
export function follower(/** @type {HyperNet} */ net, /** @type {number} */ N) {
  const filter = hyperFilter(net, N);
  const ofPrior = new Float64Array(2 * Math.ceil((N * net.sizes.z) / 2));
  const ofPosterior = new Float64Array(ofPrior.length);
  const draws = new Float64Array(N);
  /** @type {Follower["read"]} */
  function read(seed, t, x, fresh) {
    if (fresh) filter.reset();
    filter.predict(fillNormals(ofPrior, seed, STREAM.prior, t));
    filter.step(
      x,
      fillNormals(ofPosterior, seed, STREAM.posterior, t),
      fillUniforms(draws, seed, STREAM.resampling, t),
    );
  }
  return { filter, read };
}
