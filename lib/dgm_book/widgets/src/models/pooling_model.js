// Sentence encoders in the page: the states of a forward LSTM, pooled, and a linear layer to the code.

import { clearCell, layerIn, lstmCell, roomFor, sizeOf, stepLSTM } from "./lstm.js";
import { applyLayer, bufferOf, farthest, loadShared, unpackTensor } from "./nn.js";
import { END, START, UNKNOWN } from "./text_model.js";

/** @type {Record<string, string>} */
const POOLED = { last: "last state", mean: "mean", max: "maximum", absmax: "signed maximum" };

/** @type {(weights: WidgetModel) => Encoders} */
function unpackPooling(weights) {
  const buffer = bufferOf(weights.get("data"));
  /** @type {{ encoders: EncoderHeader[], words: string, max_words: number, golden: PoolingGolden }} */
  const { encoders, words, max_words: most, golden } = weights.get("header");
  // Embeddings stay as they are.
  const sizes = encoders.map(({ tensors: { embedding, ...others } }) => sizeOf(others));
  const room = roomFor(sizes.reduce((a, b) => a + b, 0));
  const ids = new Map(words.split(" ").map((word, i) => [word, UNKNOWN + 1 + i]));
  const all = encoders.map((encoder) => sentenceEncoder(buffer, encoder, room));
  return {
    encoders: all,
    encode(typed) {
      const cut = typed.slice(0, most);
      const unknown = cut.map((word) => !ids.has(word));
      const tokens = [START, ...cut.map((word) => ids.get(word) ?? UNKNOWN), END];
      return { words: cut, tokens, unknown, left: typed.length - cut.length };
    },
    most,
    size: ids.size,
    golden: golden.tokens.length,
    goldenError(g) {
      const errors = all.map(({ kind, mean, D }) => {
        return farthest(mean(golden.tokens[g]), new Float32Array(buffer, golden.means[kind] + 4 * g * D, D));
      });
      return Math.max(...errors);
    },
  };
}

/** @type {(buffer: ArrayBuffer, encoder: EncoderHeader, room: Room) => SentenceEncoder} */
function sentenceEncoder(buffer, { kind, tensors }, room) {
  const [words, E] = tensors.embedding.shape;
  const H = tensors.weight_hh.shape[1];
  const D = tensors.linear.shape[0] / 2;
  /** @type {(name: string, rows?: number) => Float32Array} */
  const wide = (name, rows = tensors[name].shape[0]) => {
    const values = unpackTensor(buffer, { ...tensors[name], shape: [rows, ...tensors[name].shape.slice(1)] });
    return room.take(values.length, values);
  };
  const small = new Int8Array(buffer, tensors.embedding.start, words * E);
  const scales = new Float32Array(buffer, tensors.embedding.scale ?? 0, words);
  const cell = lstmCell(wide, room);
  const head = layerIn(wide("linear", D), room.take(D), room); // the first half of the layer is the mean
  const x = room.take(E);
  const s = room.take(H);

  function step(/** @type {number} */ token) {
    for (let e = 0, i = token * E; e < E; e++, i++) x[e] = small[i] * scales[token];
    stepLSTM(cell, x);
  }

  // The states and cells after each token, each (T, H).
  function run(/** @type {number[]} */ tokens) {
    const h = new Float32Array(tokens.length * H);
    const c = new Float32Array(tokens.length * H);
    clearCell(cell);
    tokens.forEach((token, t) => {
      step(token);
      h.set(cell.h, t * H);
      c.set(cell.c, t * H);
    });
    return { h, c };
  }

  // The code of n states; overwritten by the next call.
  /** @type {(h: Float32Array, n: number) => Float32Array} */
  function codeOf(h, n) {
    for (let j = 0; j < H; j++) {
      let value = h[kind === "last" ? (n - 1) * H + j : j];
      for (let t = 1, i = H + j; t < n; t++, i += H) {
        if (kind === "mean") value += h[i];
        else if (kind === "max") value = Math.max(value, h[i]);
        else if (kind === "absmax" && Math.abs(h[i]) > Math.abs(value)) value = h[i];
      }
      s[j] = kind === "mean" ? value / n : value;
    }
    return applyLayer(head, s);
  }

  return {
    kind,
    label: POOLED[kind],
    H,
    D,
    mean: (tokens) => codeOf(run(tokens).h, tokens.length),
    states: (tokens) => run(tokens).h,
    // How far each word moves the code when it is left out, as dgm.papers.pooling_vae.influence.
    influence(tokens) {
      const n = tokens.length;
      const { h, c } = run(tokens);
      const whole = codeOf(h, n).slice();
      const without = h.slice();
      const distances = [];
      for (let w = 1; w < n - 1; w++) {
        // What stands before the word is not read again.
        without.set(h.subarray(0, w * H));
        cell.h.set(h.subarray((w - 1) * H, w * H));
        cell.c.set(c.subarray((w - 1) * H, w * H));
        for (let t = w + 1; t < n; t++) {
          step(tokens[t]);
          without.set(cell.h, (t - 1) * H);
        }
        const code = codeOf(without, n - 1);
        distances.push(Math.hypot(...whole.map((value, d) => code[d] - value)));
      }
      return distances;
    },
  };
}

// tau log mean exp(h / tau) over states (T, H): tau = 0 is the maximum, Infinity the mean. Fills s (H,) and,
// where given, share (T,): the mean over units of ds_j / dh_tj.
/** @type {(h: Float32Array, H: number, tau: number, s: Floats, share?: Floats) => void} */
export function softPool(h, H, tau, s, share) {
  const n = h.length / H;
  const odds = new Float64Array(n);
  share?.fill(0);
  for (let j = 0; j < H; j++) {
    let [top, place, sum] = [-Infinity, 0, 0];
    for (let t = 0, i = j; t < n; t++, i += H) {
      sum += h[i];
      if (h[i] > top) [top, place] = [h[i], t];
    }
    if (tau === 0) {
      s[j] = top;
      if (share) share[place] += 1 / H;
    } else if (tau === Infinity) {
      s[j] = sum / n;
      if (share) for (let t = 0; t < n; t++) share[t] += 1 / n / H;
    } else {
      // About the maximum, so that nothing overflows.
      sum = 0;
      for (let t = 0, i = j; t < n; t++, i += H) sum += odds[t] = Math.exp((h[i] - top) / tau);
      s[j] = top + tau * Math.log(sum / n);
      if (share) for (let t = 0; t < n; t++) share[t] += odds[t] / sum / H;
    }
  }
}

// Equations (6), (7) and (8) of dgm/papers/pooling_vae.py, for M features of H values each.
export function dispersionOf(/** @type {Floats} */ features, /** @type {number} */ H) {
  const M = features.length / H;
  const centre = new Float64Array(H);
  const direction = new Float64Array(H);
  let own = 0;
  for (let m = 0; m < M; m++) {
    let length = 0;
    for (let j = 0, i = m * H; j < H; j++, i++) length += features[i] ** 2;
    if (length > 0) own += 1;
    const scale = length > 0 ? 1 / Math.sqrt(length) : 0;
    for (let j = 0, i = m * H; j < H; j++, i++) {
      centre[j] += features[i] / M;
      direction[j] += features[i] * scale;
    }
  }
  const squares = (/** @type {Float64Array} */ values) => values.reduce((sum, x) => sum + x * x, 0);
  const around = features.map((x, i) => x - centre[i % H]);
  let [variance, squared] = [0, 0];
  // Among sentences, not among units: the sum of squares is the same.
  for (let a = 0; a < M; a++) {
    for (let b = 0; b <= a; b++) {
      let product = 0;
      for (let j = 0, i = a * H, k = b * H; j < H; j++, i++, k++) product += around[i] * around[k];
      squared += (a === b ? 1 : 2) * product ** 2;
      if (a === b) variance += product;
    }
  }
  return {
    cosine: (squares(direction) - own) / (M * (M - 1)),
    relative: variance > 0 ? variance / (M - 1) / squares(centre) : 0,
    participation: squared > 0 ? variance ** 2 / squared : 0,
  };
}

/** @type {(model: WidgetModel) => Promise<Encoders>} */
export const loadPooling = (model) => loadShared(model, unpackPooling);
