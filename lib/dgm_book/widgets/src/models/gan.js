// A small GAN in plain JavaScript: networks, gradients, Adam, binarized representation entropy (BRE), and the
// exact cells of a discriminator.

const LEAK = 0.2;
const ZETA = 1e-3;
const L2 = 1e-4;

// Mulberry32, and normal variables from pairs of its numbers (Box and Muller).
/** @type {(seed: number) => Dice} */
export function makeDice(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  /** @type {Dice["normals"]} */
  const normals = (out) => {
    for (let i = 0; i < out.length; i += 2) {
      const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
      const angle = 2 * Math.PI * uniform();
      out[i] = radius * Math.cos(angle);
      if (i + 1 < out.length) out[i + 1] = radius * Math.sin(angle);
    }
    return out;
  };
  return { uniform, normals };
}

// A perceptron whose hidden units are leaky rectifiers; all weights (out, in) and biases lie in theta.
/** @type {(sizes: number[], options?: { leak?: number, tanh?: boolean }) => GanNetwork} */
export function makeNetwork(sizes, { leak = 0, tanh = false } = {}) {
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
/** @type {(width: number, noise?: number) => GanNetwork} */
export const makeGenerator = (width, noise = 2) =>
  makeNetwork([noise, width, width, width, 2], { tanh: true });

// As torch.nn.Linear begins: uniform within one over the root of the inputs.
/** @type {(network: GanNetwork, dice: Dice) => GanNetwork} */
export function initialise(network, dice) {
  for (const { inputs, outputs, weight, bias } of network.layers) {
    for (let i = weight; i < bias + outputs; i++)
      network.theta[i] = (2 * dice.uniform() - 1) / Math.sqrt(inputs);
  }
  return network;
}

/** @type {(network: GanNetwork) => GanNetwork} */
export const copyOf = (network) => ({ ...network, theta: network.theta.slice() });

// Room for one batch of K points: pre[l] is (K, units) before the rectifier, post[l] after it.
/** @type {(network: GanNetwork, K: number) => Pass} */
export function makePass(network, K) {
  const room = () => network.layers.map(({ outputs }) => new Float64Array(K * outputs));
  return { network, K, input: new Float64Array(0), pre: room(), post: room(), delta: room() };
}

/** @type {(pass: Pass, input: Float64Array) => Float64Array} */
export function forward(pass, input) {
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

/** @type {(h: Float64Array, a: Float64Array, leak: number) => void} */
function rectify(h, a, leak) {
  for (let o = 0; o < h.length; o++) a[o] = h[o] > 0 ? h[o] : leak * h[o];
}

// Adds to `gradient` (as theta) what `out` (K, outputs) at the output and, if given, `extra` (K, units) at
// the pre-activation of layer `at` make; with `inwards` (K, inputs) the gradient of the input is written
// there.
/** @type {(pass: Pass, out: Float64Array, gradient: Float64Array | null, push?: Push) => void} */
export function backward(pass, out, gradient, { at = -1, extra = null, inwards = null } = {}) {
  const { network, pre, post, delta } = pass;
  const top = network.layers.length - 1;
  for (let o = 0; o < out.length; o++)
    delta[top][o] = network.tanh ? out[o] * (1 - post[top][o] ** 2) : out[o];
  for (let l = top; l >= 0; l--) {
    if (l === at && extra) for (let o = 0; o < extra.length; o++) delta[l][o] += extra[o];
    const below = l ? delta[l - 1] : inwards;
    if (gradient) gather(network.layers[l], delta[l], l ? post[l - 1] : pass.input, gradient, pass.K);
    if (!below) continue;
    pushDown(network.theta, network.layers[l], delta[l], below.fill(0), pass.K);
    if (l) for (let o = 0; o < below.length; o++) if (!(pre[l - 1][o] > 0)) below[o] *= network.leak;
  }
}

/** @type {(layer: GanLayer, delta: Doubles, input: Doubles, gradient: Doubles, K: number) => void} */
function gather({ inputs, outputs, weight, bias }, delta, input, gradient, K) {
  for (let k = 0, o = 0; k < K; k++) {
    const start = k * inputs;
    const end = start + inputs;
    for (let u = 0; u < outputs; u++, o++) {
      const g = delta[o];
      if (g === 0) continue;
      gradient[bias + u] += g;
      for (let i = start, w = weight + u * inputs; i < end; i++, w++) gradient[w] += g * input[i];
    }
  }
}

/** @type {(theta: Doubles, layer: GanLayer, delta: Doubles, below: Doubles, K: number) => void} */
function pushDown(theta, { inputs, outputs, weight }, delta, below, K) {
  for (let k = 0, o = 0; k < K; k++) {
    const start = k * inputs;
    const end = start + inputs;
    for (let u = 0; u < outputs; u++, o++) {
      const g = delta[o];
      if (g === 0) continue;
      for (let i = start, w = weight + u * inputs; i < end; i++, w++) below[i] += g * theta[w];
    }
  }
}

// Codes a = h / (|h| + eps), eps = zeta times the batch's mean |h|, which counts as a constant.
/** @type {(h: Float64Array, zeta?: number) => { codes: Float64Array, eps: number }} */
function softsign(h, zeta = ZETA) {
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

/** @type {(x: number) => number} */
const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
/** @type {(x: number) => number} */
const sigmoid = (x) => 0.5 + 0.5 * Math.tanh(0.5 * x);

// Mean cross-entropy of logits against 1 (way = -1) or 0 (way = 1); `into` takes the gradient.
/** @type {(logits: Float64Array, way: number, into: Float64Array) => number} */
function crossEntropy(logits, way, into) {
  let loss = 0;
  for (let k = 0; k < logits.length; k++) {
    loss += softplus(way * logits[k]) / logits.length;
    into[k] = (way * sigmoid(way * logits[k])) / logits.length;
  }
  return loss;
}

/** @type {(network: GanNetwork, gradient: Float64Array) => number} */
function addL2({ layers, theta }, gradient) {
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
  const memory = ({ theta: { length } }) => ({
    g: new Float64Array(length),
    m: new Float64Array(length),
    v: new Float64Array(length),
    t: 0,
  });
  const [real, fake, between] = [0, 1, 2].map(() => makePass(discriminator, K));
  return {
    discriminator,
    generator,
    K,
    passes: { made: makePass(generator, K), real, fake, between },
    adam: { discriminator: memory(discriminator), generator: memory(generator) },
    out: new Float64Array(K),
    middle: new Float64Array(2 * K),
    inwards: new Float64Array(2 * K),
  };
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
  const adversarial = crossEntropy(forward(passes.real, real), -1, out);
  backward(passes.real, out, gradient);
  /** @type {(pass: Pass) => [BreTerms | null, Push]} */
  const regularise = (pass) => {
    if (!w) return [null, {}];
    const extra = new Float64Array(pass.pre[REGULARISED].length);
    return [
      breTerms(pass.pre[REGULARISED], K, { zeta, margin, into: extra, scale: w }),
      { at: REGULARISED, extra },
    ];
  };
  const fooled = crossEntropy(forward(passes.fake, fake), 1, out);
  const [onFake, first] = regularise(passes.fake);
  backward(passes.fake, out, gradient, first);
  let onBetween = null;
  if (w) {
    forward(passes.between, between);
    const [terms, second] = regularise(passes.between);
    onBetween = terms;
    backward(passes.between, out.fill(0), gradient, second);
  }
  const l2 = addL2(discriminator, gradient);
  /** @type {(t: BreTerms | null) => number} */
  const total = (t) => (t ? t.marginalEntropy + t.activationCorrelation : 0);
  return {
    loss: adversarial + fooled + w * (total(onFake) + total(onBetween)) + l2,
    adversarial: adversarial + fooled,
    onFake,
    onBetween,
  };
}

// BCE(D(G(z)), 1) + L2, gradient in adam.generator.g; z is (K, noise).
/** @type {(player: Player, z: Float64Array) => { loss: number, adversarial: number }} */
export function generatorLoss(player, z) {
  const { generator, passes, out, inwards } = player;
  const gradient = player.adam.generator.g.fill(0);
  const adversarial = crossEntropy(forward(passes.fake, forward(passes.made, z)), -1, out);
  backward(passes.fake, out, null, { inwards });
  backward(passes.made, inwards, gradient);
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
