// A small GAN in plain JavaScript: networks, gradients, Adam, binarized representation entropy (BRE), and the
// exact cells of a discriminator.

import { diceOf, mulberry, STRIDE } from "./draws.js";

const LEAK = 0.2;
const ZETA = 1e-3;
const L2 = 1e-4;

export function makeDice(/** @type {number} */ seed) {
  let state = seed >>> 0;
  return diceOf(() => {
    state = (state + STRIDE) >>> 0;
    return mulberry(state);
  });
}

// A perceptron whose hidden units are leaky rectifiers; all weights (out, in) and biases lie in theta.
/** @type {(sizes: number[], options?: { leak?: number, tanh?: boolean }) => GanNetwork} */
function makeNetwork(sizes, { leak = 0, tanh = false } = {}) {
  let end = 0;
  const layers = sizes.slice(1).map((outputs, i) => {
    const weight = end;
    const bias = weight + outputs * sizes[i];
    end = bias + outputs;
    return { inputs: sizes[i], outputs, weight, bias };
  });
  return { sizes, leak, tanh, layers, theta: new Float64Array(end) };
}

/** @type {(width: number) => GanNetwork} */
export const makeDiscriminator = (width) => makeNetwork([2, width, width, width, width, 1], { leak: LEAK });
export const makeGenerator = (/** @type {number} */ width, noise = 2) =>
  makeNetwork([noise, width, width, width, 2], { tanh: true });

// As torch.nn.Linear begins: uniform within one over the root of the inputs.
export function initialise(/** @type {GanNetwork} */ network, /** @type {Dice} */ dice) {
  for (const { inputs, outputs, weight, bias } of network.layers) {
    for (let i = weight; i < bias + outputs; i++)
      network.theta[i] = (2 * dice.uniform() - 1) / Math.sqrt(inputs);
  }
  return network;
}

// Room for one batch of K points: pre[l] is (K, units) before the rectifier, post[l] after it.
export function makePass(/** @type {GanNetwork} */ network, /** @type {number} */ K) {
  const room = () => network.layers.map(({ outputs }) => new Float64Array(K * outputs));
  return { network, K, input: new Float64Array(0), pre: room(), post: room(), delta: room() };
}

export function forward(/** @type {Pass} */ pass, /** @type {Float64Array} */ input) {
  const { network, pre, post } = pass;
  pass.input = input;
  for (let l = 0; l < network.layers.length; l++) {
    const last = l === network.layers.length - 1;
    affine(network.theta, network.layers[l], input, pre[l], pass.K);
    if (last && network.tanh) for (let o = 0; o < pre[l].length; o++) post[l][o] = Math.tanh(pre[l][o]);
    else rectify(pre[l], post[l], last ? 1 : network.leak);
    input = post[l];
  }
  return input;
}

/** @type {(theta: Doubles, layer: GanLayer, input: Doubles, output: Doubles, K: number) => void} */
function affine(theta, { inputs, outputs, weight, bias }, input, output, K) {
  const whole = inputs - (inputs % 4);
  for (let k = 0, o = 0; k < K; k++) {
    const start = k * inputs;
    for (let u = 0, w = weight; u < outputs; u++, o++) {
      // Four sums that do not wait for each other.
      let a = theta[bias + u],
        b = 0,
        c = 0,
        d = 0,
        i = start;
      for (const end = start + whole; i < end; i += 4, w += 4) {
        a += theta[w] * input[i];
        b += theta[w + 1] * input[i + 1];
        c += theta[w + 2] * input[i + 2];
        d += theta[w + 3] * input[i + 3];
      }
      for (const end = start + inputs; i < end; i++, w++) a += theta[w] * input[i];
      output[o] = a + b + (c + d);
    }
  }
}

function rectify(/** @type {Float64Array} */ h, /** @type {Float64Array} */ a, /** @type {number} */ leak) {
  for (let o = 0; o < h.length; o++) a[o] = h[o] > 0 ? h[o] : leak * h[o];
}

// Adds to `gradient` (as theta) what `out` (K, outputs) at the output and, if given, `extra` (K, units) at
// the pre-activation of layer `at` make; writes the gradient of the input to `inwards` (K, inputs), if given.
/** @type {(pass: Pass, out: Float64Array, gradient: Float64Array | null, push?: Push) => void} */
export function backward(pass, out, gradient, { at = -1, extra = null, inwards = null } = {}) {
  const { network, pre, post, delta, K } = pass;
  const top = network.layers.length - 1;
  for (let o = 0; o < out.length; o++)
    delta[top][o] = network.tanh ? out[o] * (1 - post[top][o] ** 2) : out[o];
  for (let l = top; l >= 0; l--) {
    if (l === at && extra) for (let o = 0; o < extra.length; o++) delta[l][o] += extra[o];
    const below = l ? delta[l - 1].fill(0) : (inwards?.fill(0) ?? null);
    const input = l ? post[l - 1] : pass.input;
    backThrough(network.theta, network.layers[l], delta[l], input, K, { gradient, below });
    if (l && below) for (let o = 0; o < below.length; o++) if (!(pre[l - 1][o] > 0)) below[o] *= network.leak;
  }
}

// Adds the gradient of a layer's weights and biases to `gradient`, of its input to `below`, if given.
/** @type {(theta: Doubles, layer: GanLayer, delta: Doubles, input: Doubles, K: number, to: Into) => void} */
function backThrough(theta, { inputs, outputs, weight, bias }, delta, input, K, { gradient, below }) {
  for (let k = 0, o = 0; k < K; k++) {
    const [start, end] = [k * inputs, (k + 1) * inputs];
    for (let u = 0, row = weight; u < outputs; u++, o++, row += inputs) {
      const g = delta[o];
      if (g === 0) continue;
      if (gradient) {
        gradient[bias + u] += g;
        for (let i = start, w = row; i < end; i++, w++) gradient[w] += g * input[i];
      }
      if (below) for (let i = start, w = row; i < end; i++, w++) below[i] += g * theta[w];
    }
  }
}
/** @typedef {Record<"gradient" | "below", Doubles | null>} Into */

// Codes a = h / (|h| + eps), eps = zeta times the batch's mean |h|, which counts as a constant.
function softsign(/** @type {Float64Array} */ h, /** @type {number} */ zeta = ZETA) {
  let eps = 0;
  for (let o = 0; o < h.length; o++) eps += (zeta / h.length) * Math.abs(h[o]);
  const codes = new Float64Array(h.length);
  for (let o = 0; o < h.length; o++) codes[o] = h[o] === 0 ? 0 : h[o] / (Math.abs(h[o]) + eps);
  return { codes, eps };
}

// The two terms of pre-activations h (K, d), from G_ij = a_i . a_j / d of each pair. With `into` (K, d), adds
// `scale` times their gradient there; with `keep`, the whole of G comes back as well.
/** @type {(h: Float64Array, K: number, options?: BreOptions) => BreTerms} */
export function breTerms(h, K, { zeta = ZETA, margin = 3, into = null, scale = 1, keep = false } = {}) {
  const d = h.length / K;
  const eta = margin / Math.sqrt(d);
  const { codes, eps } = softsign(h, zeta);
  const mean = new Float64Array(d);
  for (let o = 0; o < codes.length; o++) mean[o % d] += codes[o] / K;
  let marginalEntropy = 0;
  for (let u = 0; u < d; u++) marginalEntropy += (mean[u] * mean[u]) / d;
  const slope = new Float64Array(into ? K * d : 0);
  for (let o = 0; o < slope.length; o++) slope[o] = (2 * mean[o % d]) / (d * K);
  const G = new Float64Array(keep ? K * K : 0);
  const pairs = K * (K - 1);
  let activationCorrelation = 0;
  for (let i = 0; i < K; i++) {
    for (let j = 0; j < i; j++) {
      const a = i * d,
        b = j * d;
      let g = 0;
      for (let u = 0; u < d; u++) g += codes[a + u] * codes[b + u];
      g /= d;
      if (keep) G[i * K + j] = G[j * K + i] = g;
      const over = Math.abs(g) - eta;
      if (!(over > 0)) continue;
      activationCorrelation += (2 * over) / pairs;
      if (!into) continue;
      const push = (2 * Math.sign(g)) / (pairs * d);
      for (let u = 0; u < d; u++) {
        slope[a + u] += push * codes[b + u];
        slope[b + u] += push * codes[a + u];
      }
    }
  }
  if (into)
    for (let o = 0; o < slope.length; o++) into[o] += (scale * slope[o] * eps) / (Math.abs(h[o]) + eps) ** 2;
  return { marginalEntropy, activationCorrelation, eta, G };
}

const softplus = (/** @type {number} */ x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const sigmoid = (/** @type {number} */ x) => 0.5 + 0.5 * Math.tanh(0.5 * x);

// Mean cross-entropy of logits against 1 (sign = -1) or 0 (sign = 1); `into` takes the gradient.
/** @type {(logits: Float64Array, sign: number, into: Float64Array) => number} */
function crossEntropy(logits, sign, into) {
  let loss = 0;
  for (let k = 0; k < logits.length; k++) {
    loss += softplus(sign * logits[k]) / logits.length;
    into[k] = (sign * sigmoid(sign * logits[k])) / logits.length;
  }
  return loss;
}

/** @type {(network: GanNetwork, gradient: Float64Array) => number} */
function addL2(/** @type {GanNetwork} */ { layers, theta }, /** @type {Float64Array} */ gradient) {
  let sum = 0;
  for (const { weight, bias } of layers) {
    for (let i = weight; i < bias; i++) {
      sum += theta[i] * theta[i];
      gradient[i] += 2 * L2 * theta[i];
    }
  }
  return L2 * sum;
}

// Discriminator and generator with room for batches of K, and what Adam remembers.
/** @type {(discriminator: GanNetwork, generator: GanNetwork, K: number) => Player} */
export function makePlayer(discriminator, generator, K) {
  /** @type {(network: GanNetwork) => Adam} */
  const memory = ({ theta: { length } }) => {
    const [g, m, v] = [0, 1, 2].map(() => new Float64Array(length));
    return { g, m, v, t: 0 };
  };
  const [real, fake, between] = [0, 1, 2].map(() => makePass(discriminator, K));
  const adam = { discriminator: memory(discriminator), generator: memory(generator) };
  const passes = { generated: makePass(generator, K), real, fake, between };
  const [out, middle, inwards] = [1, 2, 2].map((size) => new Float64Array(size * K));
  return { discriminator, generator, K, passes, adam, out, middle, inwards };
}

export const REGULARISED = 1; // the second hidden layer

// BCE(real, 1) + BCE(fake, 0) + w [BRE(fake) + BRE(between)] + L2, gradient in adam.discriminator.g; all
// points (K, 2).
/**
 * @type {(player: Player, real: Doubles, fake: Doubles, between: Doubles, settings: BreSettings) =>
 *   DiscriminatorLoss}
 */
export function discriminatorLoss(player, real, fake, between, { w, margin = 3, zeta = ZETA }) {
  const { discriminator, K, passes, out } = player;
  const gradient = player.adam.discriminator.g.fill(0);
  // Goes back from `out` and, where w counts, from the terms of the pass.
  const regularise = (/** @type {Pass} */ pass) => {
    const h = pass.pre[REGULARISED];
    const extra = w ? new Float64Array(h.length) : null;
    const terms = extra && breTerms(h, K, { zeta, margin, into: extra, scale: w });
    backward(pass, out, gradient, { at: REGULARISED, extra });
    return terms;
  };
  let adversarial = crossEntropy(forward(passes.real, real), -1, out);
  backward(passes.real, out, gradient);
  adversarial += crossEntropy(forward(passes.fake, fake), 1, out);
  const onFake = regularise(passes.fake);
  if (w) forward(passes.between, between);
  out.fill(0);
  const onBetween = w ? regularise(passes.between) : null;
  let loss = adversarial + addL2(discriminator, gradient);
  for (const terms of [onFake, onBetween]) {
    if (terms) loss += w * (terms.marginalEntropy + terms.activationCorrelation);
  }
  return { loss, adversarial, onFake, onBetween };
}

// BCE(D(G(z)), 1) + L2, gradient in adam.generator.g; z is (K, noise).
export function generatorLoss(/** @type {Player} */ player, /** @type {Float64Array} */ z) {
  const { generator, passes, out, inwards } = player;
  const gradient = player.adam.generator.g.fill(0);
  const adversarial = crossEntropy(forward(passes.fake, forward(passes.generated, z)), -1, out);
  backward(passes.fake, out, null, { inwards });
  backward(passes.generated, inwards, gradient);
  return { loss: adversarial + addL2(generator, gradient), adversarial };
}

/** @type {(theta: Float64Array, state: Adam, rate: number, beta1?: number, beta2?: number) => void} */
export function adamStep(theta, state, rate, beta1 = 0.5, beta2 = 0.999) {
  const { g, m, v } = state;
  const t = ++state.t;
  const [by1, by2] = [1 - beta1 ** t, 1 - beta2 ** t];
  for (let i = 0; i < theta.length; i++) {
    m[i] += (1 - beta1) * (g[i] - m[i]);
    v[i] += (1 - beta2) * (g[i] * g[i] - v[i]);
    theta[i] -= (rate * m[i]) / by1 / (Math.sqrt(v[i] / by2) + 1e-8);
  }
}
