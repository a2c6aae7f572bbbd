// A variational recurrent network, with generated weights (VHRNN) or without (VRNN), that filters and writes
// sequences in the page with N particles. The weights come from hyper_weights.py.
//
// loadHyper(model) -> { names, nets: { name: net }, goldenError(name) }, once a page, from the trait `weights`.
//   net: { name, kind, emission, sizes: { x, z, h, k }, scales }: `scales` is how many numbers a step generates
//   for one particle, 12 h + 2 M with M the decoder's outputs of all layers: d_input, d_hidden, bias (4 h each, in
//   the order i, f, g, o), then the decoder's scales and biases (M each). 0 for a VRNN.
// hyperFilter(net, N) -> filter, which allocates nothing once it is made:
//   reset()                            states zero, weights equal, log-likelihood zero
//   freeze(share, means)               generated numbers become (1 - share) theirs + share means (Float64Array(scales))
//   predict(noise)                     noise: N z normals for the prior. Fills .mean and .deviation (x each) of the
//                                      weighted particles' prediction; a Bernoulli's mean is its probability
//   step(x, noise, draws)              reads x (x numbers); noise: N z normals for the posterior; draws: N uniforms,
//                                      for resampling at ESS <= N/2, or nothing, for never
//   generate(noise, draws, temperature) writes instead: every particle its own x into .made (N x). draws: N x normals
//                                      (Gaussian) or uniforms (Bernoulli); the temperature multiplies the
//                                      deviations of z and of a Gaussian's x, and divides a Bernoulli's logits
//   resample(draws)                    multinomial, N uniforms; weights equal afterwards
//   adopt(other, n)                    every particle becomes particle n of another filter of the same net
//   Filled by a step, a particle after the other, as they were before resampling: .logAlpha .kl (N), .z (N z),
//   .scales (N scales), .expected .spread (N x: the emission's mean or probability, and deviation), .weights (N,
//   which sum to one). Of the whole: .meanKL (by the weights before the step), .increment (of the log-likelihood,
//   nats), .total, .ess, .resampled, .lost (all weights vanished: they were made equal).
// showGoldenError(frame.root, names, goldenError) sets data-golden-error.
// fillUniforms(out, seed, stream, t), fillNormals(...): draws by their number, as `uniforms` in hyper_weights.py.

import { bytesOf, loadShared, unpackLayer } from "./nn.js";

const mix32 = (x) => {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
};

export function fillUniforms(out, seed, stream, t, count = out.length) {
  const odd = 0x9e3779b1;
  const key = mix32(Math.imul(mix32(Math.imul(mix32(seed + 1), odd) + stream + 1), odd) + t + 1);
  for (let i = 0; i < count; i++) out[i] = mix32((key + Math.imul(i + 1, odd)) | 0) / 4294967296;
  return out;
}

// Box and Muller, of two uniforms each; out has an even length.
export function fillNormals(out, seed, stream, t) {
  fillUniforms(out, seed, stream, t);
  for (let i = 0; i + 1 < out.length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - out[i]));
    const angle = 2 * Math.PI * out[i + 1];
    out[i] = radius * Math.cos(angle);
    out[i + 1] = radius * Math.sin(angle);
  }
  return out;
}

function unpackHyper(weights) {
  const buffer = bytesOf(weights.get("data")).buffer;
  const nets = {};
  const golden = {};
  for (const described of weights.get("header").models) {
    const read = ({ shape: [rows, columns = 1], start, scale }) => {
      if (scale === undefined) return Float64Array.from(new Float32Array(buffer, start, rows * columns));
      return Float64Array.from(unpackLayer(buffer, { rows, columns, weight: start, scale, bias: scale }).weight);
    };
    const net = (nets[described.name] = hyperNet(described, read));
    if (described.golden) golden[net.name] = Object.fromEntries(Object.entries(described.golden).map(([key, at]) => [key, { shape: at.shape, values: read({ ...at, shape: [at.shape.reduce((a, b) => a * b, 1)] }) }]));
  }
  const goldenError = (name) => (golden[name] ? hyperGoldenError(nets[name], golden[name]) : null);
  return { names: Object.keys(nets), nets, goldenError };
}

export const loadHyper = (model) => loadShared(model, unpackHyper);

function hyperNet({ name, kind, emission, hyper_input: fed, sigma_min: least, sizes, tensors }, read) {
  const values = Object.fromEntries(Object.entries(tensors).map(([key, at]) => [key, read(at)]));
  const layer = (weight, bias) => {
    const [rows, columns] = tensors[weight].shape;
    return { rows, columns, weight: values[weight], bias: values[bias] ?? new Float64Array(rows), output: new Float64Array(rows) };
  };
  const perceptron = (part) => {
    const places = Object.keys(tensors).filter((key) => key.startsWith(`${part}.`) && key.endsWith(".weight"));
    places.sort((a, b) => Number(a.split(".")[1]) - Number(b.split(".")[1]));
    return places.map((key) => layer(key, key.replace(/weight$/, "bias")));
  };
  const parts = Object.fromEntries(["encode_x", "encode_z", "prior", "posterior", "decoder"].map((part) => [part, perceptron(part)]));
  const net = { name, kind, emission, sizes, least, parts, scales: 0, inputMean: values.input_mean };
  net.cell = { input: layer("cell.weight_input", "cell.bias"), hidden: layer("cell.weight_hidden") };
  if (kind === "vhrnn") {
    net.hyper = { input: layer("hyper.weight_input", "hyper.bias"), hidden: layer("hyper.weight_hidden") };
    net.heads = layer("heads.weight", "heads.bias");
    net.rescale = perceptron("rescale");
    net.from = fed === "hidden" ? sizes.z : 0; // where in [z; h] the hypernetworks begin to read
    net.scales = net.heads.rows + net.rescale.at(-1).rows;
  }
  return net;
}

// output = W input + bias; with scales s and b (at `at` and `at + apart`): s (W input) + bias + b.
function affine({ rows, columns, weight, bias, output }, input, from = 0, relu = false, scales = null, at = 0, apart = 0) {
  for (let r = 0, i = 0; r < rows; r++) {
    let sum = 0;
    for (let k = 0; k < columns; k++, i++) sum += weight[i] * input[from + k];
    sum = scales ? scales[at + r] * sum + bias[r] + scales[at + apart + r] : sum + bias[r];
    output[r] = relu && sum < 0 ? 0 : sum;
  }
  return output;
}

function perceive(layers, input, from = 0) {
  let v = affine(layers[0], input, from, layers.length > 1);
  for (let l = 1; l < layers.length; l++) v = affine(layers[l], v, 0, l + 1 < layers.length);
  return v;
}

const logistic = (a) => 1 / (1 + Math.exp(-a));
const softplusOf = (a) => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a)));
export const LOG_ROOT = 0.5 * Math.log(2 * Math.PI);

export function hyperFilter(net, N) {
  const { x: X, z: Z, h: H, k: K } = net.sizes;
  const S = net.scales;
  const M = net.rescale ? net.rescale.at(-1).rows / 2 : 0;
  const gaussian = net.emission === "gaussian";
  const doubles = (n) => new Float64Array(n);
  const state = { h: doubles(N * H), c: doubles(N * H), k: doubles(N * K), kc: doubles(N * K) };
  const spare = { h: doubles(N * H), c: doubles(N * H), k: doubles(N * K), kc: doubles(N * K) };
  const [widths, names] = [{ h: H, c: H, k: K, kc: K }, Object.keys(state)];
  const logWeights = doubles(N);
  const before = doubles(N).fill(1 / N); // the weights as a step finds them
  const ancestors = new Int32Array(N);
  // Inputs of one particle
  const zh = doubles(Z + H); // [z; h]
  const he = doubles(H + Z); // [h; x encoded]
  const y = doubles(2 * Z); // [x encoded; z encoded]
  const centred = doubles(X);
  const encoded = doubles(Z);
  const [priorMean, priorDeviation, ofGates] = [doubles(Z), doubles(Z), doubles(4 * Math.max(H, K))];
  let frozen = 0;
  let means = null;
  let closed = 0; // log-likelihood up to the last resampling
  const me = {
    net, N, state,
    logAlpha: doubles(N), kl: doubles(N), z: doubles(N * Z), scales: doubles(N * S), expected: doubles(N * X), spread: doubles(gaussian ? N * X : 0),
    weights: doubles(N).fill(1 / N), mean: doubles(X), deviation: doubles(gaussian ? X : 0), made: doubles(N * X),
    meanKL: 0, increment: 0, total: 0, ess: N, resampled: false, lost: false,
    reset, freeze, predict, step, generate, resample, adopt,
  };

  function reset() {
    for (const name of names) state[name].fill(0);
    for (const name of ["weights", "logAlpha", "kl", "z", "scales", "expected", "spread", "mean", "deviation", "made"]) me[name].fill(0);
    logWeights.fill(0);
    me.weights.fill(1 / N);
    before.fill(1 / N);
    closed = me.meanKL = me.increment = me.total = 0;
    me.ess = N;
    me.resampled = me.lost = false;
  }

  function freeze(share, constant = means) {
    if (share > 0 && constant?.length !== S && S) throw new Error(`freeze: want ${S} mean scales`);
    [frozen, means] = [share, constant];
  }

  const widthOf = (raw) => Math.max(softplusOf(raw + 0.5), net.least);

  function prior(n) {
    const told = perceive(net.parts.prior, state.h, n * H);
    for (let d = 0; d < Z; d++) {
      priorMean[d] = told[d];
      priorDeviation[d] = widthOf(told[Z + d]);
    }
  }

  // Puts z and the particle's h side by side.
  function place(n, z, at) {
    for (let d = 0; d < Z; d++) zh[d] = z[at + d];
    for (let d = 0; d < H; d++) zh[Z + d] = state.h[n * H + d];
  }

  function keep(n, at, values) {
    const start = n * S + at;
    if (frozen > 0) for (let i = 0; i < values.length; i++) me.scales[start + i] = (1 - frozen) * values[i] + frozen * means[at + i];
    else for (let i = 0; i < values.length; i++) me.scales[start + i] = values[i];
  }

  // The emission at `zh`, into .expected and .spread; a Bernoulli's logits stay in what is returned.
  function decode(n) {
    const layers = net.parts.decoder;
    let [v, at] = [zh, 0];
    if (M) {
      at = 12 * H;
      keep(n, at, perceive(net.rescale, zh, net.from));
      at += n * S;
    }
    for (let l = 0; l < layers.length; l++) {
      v = affine(layers[l], v, 0, l + 1 < layers.length, M ? me.scales : null, at, M);
      at += layers[l].rows;
    }
    for (let d = 0; d < X; d++) {
      me.expected[n * X + d] = gaussian ? v[d] : logistic(v[d]);
      if (gaussian) me.spread[n * X + d] = widthOf(v[X + d]);
    }
    return v;
  }

  function lstm(a, size, n, cell, hidden) {
    for (let i = 0, at = n * size; i < size; i++, at++) {
      cell[at] = logistic(a[size + i]) * cell[at] + logistic(a[i]) * Math.tanh(a[2 * size + i]);
      hidden[at] = logistic(a[3 * size + i]) * Math.tanh(cell[at]);
    }
  }

  // From z in `zh` and the encoded x at y[0..Z) to the particle's next state.
  function advance(n) {
    const code = perceive(net.parts.encode_z, zh);
    for (let d = 0; d < Z; d++) y[Z + d] = code[d];
    const from = n * S;
    if (S) {
      const a = affine(net.hyper.input, zh, net.from);
      const b = affine(net.hyper.hidden, state.k, n * K);
      for (let i = 0; i < 4 * K; i++) ofGates[i] = a[i] + b[i];
      lstm(ofGates, K, n, state.kc, state.k);
      keep(n, 0, affine(net.heads, state.k, n * K));
    }
    const a = affine(net.cell.input, y);
    const b = affine(net.cell.hidden, state.h, n * H);
    for (let i = 0; i < 4 * H; i++) ofGates[i] = S ? me.scales[from + i] * a[i] + me.scales[from + 4 * H + i] * b[i] + me.scales[from + 8 * H + i] : a[i] + b[i];
    lstm(ofGates, H, n, state.c, state.h);
  }

  function encode(x, from, out) {
    for (let d = 0; d < X; d++) centred[d] = x[from + d] - net.inputMean[d];
    const code = perceive(net.parts.encode_x, centred);
    for (let d = 0; d < Z; d++) out[d] = code[d];
  }

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
    if (gaussian) for (let d = 0; d < X; d++) me.deviation[d] = Math.sqrt(Math.max(0, me.deviation[d] - me.mean[d] ** 2));
  }

  function step(x, noise, draws) {
    encode(x, 0, encoded);
    for (let d = 0; d < Z; d++) he[H + d] = y[d] = encoded[d];
    me.meanKL = 0;
    for (let n = 0; n < N; n++) {
      prior(n);
      for (let d = 0; d < H; d++) he[d] = state.h[n * H + d];
      const told = perceive(net.parts.posterior, he);
      let [alpha, kl] = [0, 0];
      for (let d = 0; d < Z; d++) {
        const [shift, width] = [told[d], widthOf(told[Z + d])];
        const far = (shift + width * noise[n * Z + d]) / priorDeviation[d];
        const ratio = width / priorDeviation[d];
        me.z[n * Z + d] = priorMean[d] + shift + width * noise[n * Z + d];
        alpha += 0.5 * (noise[n * Z + d] ** 2 - far * far) + Math.log(ratio);
        kl += 0.5 * (ratio * ratio + (shift / priorDeviation[d]) ** 2 - 1) - Math.log(ratio);
      }
      place(n, me.z, n * Z);
      const raw = decode(n);
      for (let d = 0, at = n * X; d < X; d++, at++) {
        if (gaussian) alpha -= 0.5 * ((x[d] - me.expected[at]) / me.spread[at]) ** 2 + Math.log(me.spread[at]) + LOG_ROOT;
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
    if (me.resampled) resample(draws);
    else before.set(me.weights);
  }

  function weigh() {
    let [top, sum, squares] = [-Infinity, 0, 0];
    for (let n = 0; n < N; n++) top = Math.max(top, logWeights[n]);
    me.lost = !Number.isFinite(top);
    if (me.lost) logWeights.fill((top = 0));
    for (let n = 0; n < N; n++) sum += me.weights[n] = Math.exp(logWeights[n] - top);
    for (let n = 0; n < N; n++) squares += (me.weights[n] /= sum) ** 2;
    const total = closed + top + Math.log(sum / N);
    me.increment = total - me.total;
    me.total = total;
    me.ess = 1 / squares;
  }

  function resample(draws) {
    for (let n = 0; n < N; n++) {
      let [a, height] = [0, me.weights[0]];
      while (a < N - 1 && height <= draws[n]) height += me.weights[++a];
      ancestors[n] = a;
    }
    for (const name of names) {
      const [wide, now, next] = [widths[name], state[name], spare[name]];
      for (let n = 0; n < N; n++) for (let d = 0; d < wide; d++) next[n * wide + d] = now[ancestors[n] * wide + d];
      now.set(next);
    }
    closed = me.total;
    logWeights.fill(0);
    before.fill(1 / N);
  }

  function generate(noise, draws, temperature = 1) {
    for (let n = 0; n < N; n++) {
      prior(n);
      for (let d = 0; d < Z; d++) me.z[n * Z + d] = priorMean[d] + temperature * priorDeviation[d] * noise[n * Z + d];
      place(n, me.z, n * Z);
      const raw = decode(n);
      for (let d = 0, at = n * X; d < X; d++, at++) {
        if (gaussian) me.made[at] = me.expected[at] + temperature * me.spread[at] * draws[at];
        else me.made[at] = draws[at] < logistic(raw[d] / temperature) ? 1 : 0;
      }
      encode(me.made, n * X, y);
      advance(n);
    }
  }

  function adopt(other, n) {
    reset();
    for (const name of names) {
      const wide = widths[name];
      for (let m = 0; m < N; m++) for (let d = 0; d < wide; d++) state[name][m * wide + d] = other.state[name][n * wide + d];
    }
  }

  return me;
}

// How far the page is off at most, of numbers of about one; larger ones by their share.
function hyperGoldenError(net, golden) {
  const [steps, N] = golden.noise.shape;
  const filter = hyperFilter(net, N);
  let worst = 0;
  const compare = (key, values, t, from = 0) => {
    if (!golden[key]) return;
    const told = golden[key].values;
    const wide = told.length / steps / N;
    for (let n = 0; n < N; n++) {
      for (let i = 0; i < wide; i++) {
        const wanted = told[(t * N + n) * wide + i];
        const off = Math.abs(values[n * (values.length / N) + from + i] - wanted) / (1 + Math.abs(wanted));
        worst = Math.max(worst, off); // which lets NaN through
      }
    }
  };
  const { x: X, z: Z } = net.sizes;
  for (let t = 0; t < steps; t++) {
    const x = golden.x.values.subarray(t * X, (t + 1) * X);
    filter.step(x, golden.noise.values.subarray(t * N * Z, (t + 1) * N * Z));
    const made = { z: filter.z, log_alpha: filter.logAlpha, kl: filter.kl, mean_x: filter.expected, deviation_x: filter.spread, scales: filter.scales, h: filter.state.h };
    for (const [key, values] of Object.entries(made)) if (values.length) compare(key, values, t);
  }
  return worst;
}
