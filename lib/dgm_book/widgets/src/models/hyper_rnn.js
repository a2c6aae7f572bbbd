// A variational recurrent network, with generated weights (VHRNN) or without (VRNN), that filters and writes
// sequences in the page with N particles. The weights come from hyper_weights.py.

import { last } from "./arrays.js";

/** @typedef {{ scales: Float64Array | null, at: number, apart: number }} Scaling */
const NONE = { scales: null, at: 0, apart: 0 };

// output = W input + bias; with scales s and b (at `at` and `at + apart`): s (W input) + bias + b.
/**
 * @type {(layer: Layer<Doubles>, input: Doubles, from?: number, relu?: boolean, scaling?: Scaling) =>
 *   Doubles}
 */
function affine({ rows, columns, weight, bias, output }, input, from = 0, relu = false, scaling = NONE) {
  const { scales, at, apart } = scaling;
  for (let r = 0, i = 0; r < rows; r++) {
    let sum = 0;
    for (let k = 0; k < columns; k++, i++) sum += weight[i] * input[from + k];
    sum = scales ? scales[at + r] * sum + bias[r] + scales[at + apart + r] : sum + bias[r];
    output[r] = relu && sum < 0 ? 0 : sum;
  }
  return output;
}

function perceive(/** @type {Perceptron} */ layers, /** @type {Float64Array} */ input, from = 0) {
  let v = affine(layers[0], input, from, layers.length > 1);
  for (let l = 1; l < layers.length; l++) v = affine(layers[l], v, 0, l + 1 < layers.length);
  return v;
}

const logistic = (/** @type {number} */ a) => 1 / (1 + Math.exp(-a));
const softplusOf = (/** @type {number} */ a) => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a)));
export const LOG_ROOT = 0.5 * Math.log(2 * Math.PI);

/** @type {(net: HyperNet, N: number) => HyperFilter} */
export function hyperFilter(net, N) {
  const { x: X, z: Z, h: H, k: K } = net.sizes;
  const S = net.scales;
  const { hyper } = net;
  const gaussian = net.emission === "gaussian";
  const doubles = (/** @type {number} */ n) => new Float64Array(n);
  /** @type {Record<string, number>} */
  const widths = { h: H, c: H, k: K, kc: K };
  const names = Object.keys(widths);
  /** @type {() => HyperState} */
  const states = () => ({ h: doubles(N * H), c: doubles(N * H), k: doubles(N * K), kc: doubles(N * K) });
  const [state, spare] = [states(), states()];
  const logWeights = doubles(N);
  const before = doubles(N).fill(1 / N); // the weights that a step begins with
  const ancestors = new Int32Array(N);
  // Inputs of one particle: [z; h], [h; x encoded], [x encoded; z encoded].
  const [zh, he, y] = [doubles(Z + H), doubles(H + Z), doubles(2 * Z)];
  const [centred, encoded] = [doubles(X), doubles(Z)];
  const [priorMean, priorDeviation, gates] = [doubles(Z), doubles(Z), doubles(4 * Math.max(H, K))];
  let frozen = 0;
  /** @type {Float64Array | null} */
  let means = null;
  let closed = 0; // log-likelihood up to the last resampling
  const arrays = {
    logAlpha: doubles(N),
    kl: doubles(N),
    z: doubles(N * Z),
    scales: doubles(N * S),
    expected: doubles(N * X),
    spread: doubles(gaussian ? N * X : 0),
    mean: doubles(X),
    deviation: doubles(gaussian ? X : 0),
    written: doubles(N * X),
  };
  const start = { meanKL: 0, increment: 0, total: 0, ess: N, resampled: false, lost: false };
  const acts = { reset, freeze, predict, step, generate, resample, adopt };
  /** @type {HyperFilter} */
  const me = { net, N, state, weights: doubles(N).fill(1 / N), ...arrays, ...start, ...acts };
  const scaling = {
    scales: hyper ? me.scales : null,
    at: 0,
    apart: hyper ? last(hyper.rescale).rows / 2 : 0,
  };

  function reset() {
    for (const values of [...names.map((name) => state[name]), ...Object.values(arrays), logWeights])
      values.fill(0);
    for (const weights of [me.weights, before]) weights.fill(1 / N);
    closed = 0;
    Object.assign(me, start);
  }

  /** @type {HyperFilter["freeze"]} */
  function freeze(share, constant = means) {
    if (share > 0 && constant?.length !== S && S) throw new Error(`freeze: want ${S} mean scales`);
    [frozen, means] = [share, constant];
  }

  const widthOf = (/** @type {number} */ raw) => Math.max(softplusOf(raw + 0.5), net.least);

  function prior(/** @type {number} */ n) {
    const output = perceive(net.parts.prior, state.h, n * H);
    for (let d = 0; d < Z; d++) {
      priorMean[d] = output[d];
      priorDeviation[d] = widthOf(output[Z + d]);
    }
  }

  /** Puts z and the particle's h side by side. @type {(n: number, z: Float64Array, at: number) => void} */
  function place(n, z, at) {
    for (let d = 0; d < Z; d++) zh[d] = z[at + d];
    for (let d = 0; d < H; d++) zh[Z + d] = state.h[n * H + d];
  }

  function keep(/** @type {number} */ n, /** @type {number} */ at, /** @type {Float64Array} */ values) {
    const start = n * S + at;
    for (let i = 0; i < values.length; i++)
      me.scales[start + i] =
        frozen > 0 && means ? (1 - frozen) * values[i] + frozen * means[at + i] : values[i];
  }

  // The emission at `zh`, into .expected and .spread; a Bernoulli's logits stay in what is returned.
  function decode(/** @type {number} */ n) {
    const layers = net.parts.decoder;
    /** @type {Doubles} */
    let v = zh;
    let at = 0;
    if (hyper) {
      at = 12 * H;
      keep(n, at, perceive(hyper.rescale, zh, hyper.from));
      at += n * S;
    }
    for (let l = 0; l < layers.length; l++) {
      scaling.at = at;
      v = affine(layers[l], v, 0, l + 1 < layers.length, scaling);
      at += layers[l].rows;
    }
    for (let d = 0; d < X; d++) {
      me.expected[n * X + d] = gaussian ? v[d] : logistic(v[d]);
      if (gaussian) me.spread[n * X + d] = widthOf(v[X + d]);
    }
    return v;
  }

  /** @type {(a: Float64Array, size: number, n: number, cell: Float64Array, hidden: Float64Array) => void} */
  function lstm(a, size, n, cell, hidden) {
    for (let i = 0, at = n * size; i < size; i++, at++) {
      cell[at] = logistic(a[size + i]) * cell[at] + logistic(a[i]) * Math.tanh(a[2 * size + i]);
      hidden[at] = logistic(a[3 * size + i]) * Math.tanh(cell[at]);
    }
  }

  /** From z in `zh` and the encoded x at y[0..Z) to the particle's next state. @type {(n: number) => void} */
  function advance(n) {
    const code = perceive(net.parts.encode_z, zh);
    for (let d = 0; d < Z; d++) y[Z + d] = code[d];
    const from = n * S;
    if (hyper) {
      const [a, b] = [affine(hyper.input, zh, hyper.from), affine(hyper.hidden, state.k, n * K)];
      for (let i = 0; i < 4 * K; i++) gates[i] = a[i] + b[i];
      lstm(gates, K, n, state.kc, state.k);
      keep(n, 0, affine(hyper.heads, state.k, n * K));
    }
    const [a, b] = [affine(net.cell.input, y), affine(net.cell.hidden, state.h, n * H)];
    for (let i = 0; i < 4 * H; i++)
      gates[i] = S
        ? me.scales[from + i] * a[i] + me.scales[from + 4 * H + i] * b[i] + me.scales[from + 8 * H + i]
        : a[i] + b[i];
    lstm(gates, H, n, state.c, state.h);
  }

  /** @type {(x: ArrayLike<number>, from: number, out: Float64Array) => void} */
  function encode(x, from, out) {
    for (let d = 0; d < X; d++) centred[d] = x[from + d] - net.inputMean[d];
    const code = perceive(net.parts.encode_x, centred);
    for (let d = 0; d < Z; d++) out[d] = code[d];
  }

  /** @type {HyperFilter["predict"]} */
  function predict(noise) {
    me.mean.fill(0);
    if (gaussian) me.deviation.fill(0);
    for (let n = 0; n < N; n++) {
      prior(n);
      for (let d = 0; d < Z; d++) me.z[n * Z + d] = priorMean[d] + priorDeviation[d] * noise[n * Z + d];
      place(n, me.z, n * Z);
      decode(n);
      for (let d = 0, at = n * X; d < X; d++, at++) {
        me.mean[d] += before[n] * me.expected[at];
        if (gaussian) me.deviation[d] += before[n] * (me.spread[at] ** 2 + me.expected[at] ** 2);
      }
    }
    if (gaussian)
      for (let d = 0; d < X; d++) me.deviation[d] = Math.sqrt(Math.max(0, me.deviation[d] - me.mean[d] ** 2));
  }

  /** @type {HyperFilter["step"]} */
  function step(x, noise, draws) {
    encode(x, 0, encoded);
    for (let d = 0; d < Z; d++) he[H + d] = y[d] = encoded[d];
    me.meanKL = 0;
    for (let n = 0; n < N; n++) {
      prior(n);
      for (let d = 0; d < H; d++) he[d] = state.h[n * H + d];
      const output = perceive(net.parts.posterior, he);
      let [alpha, kl] = [0, 0];
      for (let d = 0; d < Z; d++) {
        const [shift, width] = [output[d], widthOf(output[Z + d])];
        const far = (shift + width * noise[n * Z + d]) / priorDeviation[d];
        const ratio = width / priorDeviation[d];
        me.z[n * Z + d] = priorMean[d] + shift + width * noise[n * Z + d];
        alpha += 0.5 * (noise[n * Z + d] ** 2 - far * far) + Math.log(ratio);
        kl += 0.5 * (ratio * ratio + (shift / priorDeviation[d]) ** 2 - 1) - Math.log(ratio);
      }
      place(n, me.z, n * Z);
      const raw = decode(n);
      for (let d = 0, at = n * X; d < X; d++, at++) {
        if (gaussian)
          alpha -= 0.5 * ((x[d] - me.expected[at]) / me.spread[at]) ** 2 + Math.log(me.spread[at]) + LOG_ROOT;
        else alpha += x[d] * raw[d] - softplusOf(raw[d]);
      }
      advance(n);
      me.logAlpha[n] = alpha;
      me.kl[n] = kl;
      me.meanKL += before[n] * kl;
      logWeights[n] += alpha;
    }
    weigh();
    me.resampled = draws !== undefined && me.ess <= N / 2;
    if (draws && me.resampled) resample(draws);
    else before.set(me.weights);
  }

  function weigh() {
    let [top, sum, squares] = [-Infinity, 0, 0];
    for (let n = 0; n < N; n++) top = Math.max(top, logWeights[n]);
    me.lost = !Number.isFinite(top);
    if (me.lost) {
      top = 0;
      logWeights.fill(0);
    }
    for (let n = 0; n < N; n++) sum += me.weights[n] = Math.exp(logWeights[n] - top);
    for (let n = 0; n < N; n++) {
      me.weights[n] /= sum;
      squares += me.weights[n] ** 2;
    }
    const total = closed + top + Math.log(sum / N);
    me.increment = total - me.total;
    me.total = total;
    me.ess = 1 / squares;
  }

  /** @type {HyperFilter["resample"]} */
  function resample(draws) {
    for (let n = 0; n < N; n++) {
      let [a, height] = [0, me.weights[0]];
      while (a < N - 1 && height <= draws[n]) height += me.weights[++a];
      ancestors[n] = a;
    }
    for (const name of names) copyStates(spare[name], state[name], widths[name], (n) => ancestors[n]);
    for (const name of names) state[name].set(spare[name]);
    closed = me.total;
    logWeights.fill(0);
    before.fill(1 / N);
  }

  /** @type {HyperFilter["generate"]} */
  function generate(noise, draws, temperature = 1) {
    for (let n = 0; n < N; n++) {
      prior(n);
      for (let d = 0; d < Z; d++)
        me.z[n * Z + d] = priorMean[d] + temperature * priorDeviation[d] * noise[n * Z + d];
      place(n, me.z, n * Z);
      const raw = decode(n);
      for (let d = 0, at = n * X; d < X; d++, at++) {
        if (gaussian) me.written[at] = me.expected[at] + temperature * me.spread[at] * draws[at];
        else me.written[at] = draws[at] < logistic(raw[d] / temperature) ? 1 : 0;
      }
      encode(me.written, n * X, y);
      advance(n);
    }
  }

  /** @type {HyperFilter["adopt"]} */
  function adopt(other, n) {
    reset();
    for (const name of names) copyStates(state[name], other.state[name], widths[name], () => n);
  }

  /** @type {(into: Doubles, from: Doubles, wide: number, which: Scale1D) => void} */
  function copyStates(into, from, wide, which) {
    for (let n = 0; n < N; n++) into.set(from.subarray(which(n) * wide, (which(n) + 1) * wide), n * wide);
  }

  return me;
}
