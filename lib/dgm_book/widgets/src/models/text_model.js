// The steering model in the page: a sentence in, the same sentence said differently out. The numbers in
// brackets are the equations of dgm/simplex_steering.py.

import { layerIn, lstmCell, roomFor, sizeOf, stepLSTM } from "./lstm.js";
import { applyLayer, bufferOf, loadShared, unpackTensor } from "./nn.js";
import { splitSentences } from "./tokens.js";

export const [PAD, START, END, UNKNOWN] = [0, 1, 2, 3];
const WINDOW = 5; // words that a convolution reads

/** @type {(weights: WidgetModel) => SteeringModel} */
function unpackText(weights) {
  const buffer = bufferOf(weights.get("data"));
  /** @type {TextHeader} */
  const header = weights.get("header");
  const { tensors, max_words: most } = header;
  const [E, C] = [tensors["embedding.weight"].shape[1], tensors["near.weight"].shape[0]];
  const room = roomFor(sizeOf(tensors) + (most + 10) * (E + 2 * C + 8));
  /** @type {Record<string, Float32Array>} */
  const t = {};
  for (const [name, tensor] of Object.entries(tensors)) {
    const wide = unpackTensor(buffer, tensor);
    t[name] = room.take(wide.length, wide);
  }
  return steeringModel(t, header, room);
}

// What readers type as numbers of words, and back; words that the model does not know share a few markers.
function vocabularyOf(/** @type {TextHeader} */ { words, unknown_slots: slots, max_words: most }) {
  const known = words.split(" ");
  const markers = slots + 4;
  const ids = new Map(known.map((word, i) => [word, markers + i]));

  function encodeSentence(/** @type {string[]} */ tokens) {
    /** @type {string[][]} */
    const [firsts, rest, unknownWords] = [[], [], []];
    const places = tokens.map((word) => {
      const id = ids.get(word);
      if (id !== undefined) return id;
      unknownWords.push(word);
      if (!firsts.includes(word) && firsts.length < slots - 1) firsts.push(word);
      if (firsts.includes(word)) return UNKNOWN + firsts.indexOf(word);
      rest.push(word);
      return UNKNOWN + slots - 1;
    });
    return { words: places, tokens, unknown: [...firsts, ...rest], unknownWords };
  }

  return {
    mask: markers - 1,
    number: ids.get("_num_"),
    /** @type {SteeringModel["encode"]} */
    encode(tokens) {
      const parts = splitSentences(tokens, most).map(encodeSentence);
      const unknownWords = parts.flatMap((part) => part.unknownWords);
      return { tokens, parts, words: parts.flatMap((part) => part.words), unknownWords };
    },
    decode(/** @type {number[]} */ places, /** @type {string[]} */ unknown) {
      const rest = unknown.slice(slots - 1);
      return places.map((word) => {
        if (word >= markers) return known[word - markers];
        return word === UNKNOWN + slots - 1 ? (rest.shift() ?? "") : unknown[word - UNKNOWN];
      });
    },
  };
}

/** @type {(t: Record<string, Float32Array>, header: TextHeader, room: Room) => SteeringModel} */
function steeringModel(t, header, room) {
  const { tensors, unknown_slots: slots, max_words: most, longer, golden } = header;
  const { mask, number, encode, decode } = vocabularyOf(header);
  const [size, E] = tensors["embedding.weight"].shape;
  const [K, N] = tensors.vertices.shape;
  const H = tensors["lstm.weight_hh_l0"].shape[1];
  const C = tensors["near.weight"].shape[0];
  const reach = (t.by_distance.length - 1) / 2;
  const { take } = room;
  /** @type {(name: string, activation?: string) => (input: Float32Array) => Float32Array} */
  const layer = (name, activation) => {
    // What a word votes is counted without the bias.
    const bias = (name !== "weights" && t[`${name}.bias`]) || take(tensors[`${name}.weight`].shape[0]);
    const built = layerIn(t[`${name}.weight`], bias, room, activation);
    return (input) => applyLayer(built, input);
  };
  const [voters, near, far] = ["voters", "near", "far"].map((name) => layer(name, "relu"));
  const [query, votesOf, shift, initial] = ["query", "weights", "shift", "initial"].map((name) =>
    layer(name),
  );
  const [asks, keyOf, output] = ["attention_query", "attention_key", "output"].map((name) => layer(name));
  const cell = lstmCell((name) => t[`lstm.${name}_l0`], room);
  const logitsOf = layerIn(t["embedding.weight"], t.word_bias, room);
  // What is remembered of a sentence, of which there are `count` words.
  const [latents, keys, hiddens] = [take(most * E), take(most * C), take(most * C)];
  let count = 0;
  const [words5, hiddens5, scores] = [take(WINDOW * E), take(WINDOW * C), take(most)];
  const [read1, read2, begun] = [take(E + N), take(H + N), take(N + E)];
  /** @type {(word: number) => Float32Array} */
  const embedded = (word) => t["embedding.weight"].subarray(word * E, (word + 1) * E);

  /** @type {SteeringModel["read"]} */
  function read(words) {
    const votes = new Float32Array(words.length * K);
    const logits = Float64Array.from(t["weights.bias"]);
    for (let s = 0; s < words.length; s++) {
      const vote = votesOf(query(voters(embedded(words[s]))));
      votes.set(vote, s * K);
      for (let k = 0; k < K; k++) logits[k] += vote[k];
    }
    const top = Math.max(...logits);
    const odds = Array.from(logits, (x) => Math.exp(x - top));
    const sum = odds.reduce((a, b) => a + b);
    return { votes, p: odds.map((x) => x / sum) };
  }

  // Equation (3): what each word says against the weights that target(place) asks for.
  /** @type {(reading: Reading, target: (place: number) => number[], length: number) => number[]} */
  function against({ p, votes }, target, length) {
    return Array.from({ length }, (_, s) => {
      const weights = target(s);
      let sum = 0;
      for (let k = 0; k < K; k++) sum += (p[k] - weights[k]) * votes[s * K + k];
      return sum;
    });
  }

  // The rows around row s, and zero beyond the ends.
  /** @type {(into: Float32Array, s: number, row: (place: number) => Float32Array) => Float32Array} */
  function around(into, s, row) {
    const wide = into.length / WINDOW;
    for (let i = 0; i < WINDOW; i++) {
      const place = s + i - 2;
      if (place < 0 || place >= count) into.fill(0, i * wide, (i + 1) * wide);
      else into.set(row(place), i * wide);
    }
    return into;
  }

  /** Equation (5), the means. @type {(source: number[]) => void} */
  function remember(source) {
    count = source.length;
    const word = (/** @type {number} */ s) => embedded(source[s]);
    const hidden = (/** @type {number} */ s) => hiddens.subarray(s * C, (s + 1) * C);
    for (let s = 0; s < count; s++) hiddens.set(near(around(words5, s, word)), s * C);
    for (let s = 0; s < count; s++) {
      const h = far(around(hiddens5, s, hidden));
      for (let c = 0; c < C; c++) h[c] += hiddens[s * C + c];
      const latent = latents.subarray(s * E, (s + 1) * E);
      const [shifted, x] = [shift(h), word(s)];
      for (let e = 0; e < E; e++) latent[e] = x[e] + shifted[e];
      keys.set(keyOf(latent), s * C);
    }
  }

  // Where equation (6) looks at step t: by content, by distance, by what stands to the left.
  /** @type {(hidden: Float32Array, previous: Float32Array, step: number) => void} */
  function attend(hidden, previous, step) {
    const asked = asks(hidden);
    const scale = 1 / Math.sqrt(C);
    let top = -Infinity;
    for (let s = 0; s < count; s++) {
      let [content, match] = [0, 0];
      for (let c = 0, i = s * C; c < C; c++, i++) content += asked[c] * keys[i];
      if (s > 0) for (let e = 0, i = (s - 1) * E; e < E; e++, i++) match += previous[e] * latents[i];
      const distance = Math.max(-reach, Math.min(reach, s - step)) + reach;
      scores[s] = scale * content + t.by_match[0] * match + t.by_distance[distance];
      if (scores[s] > top) top = scores[s];
    }
    let sum = 0;
    for (let s = 0; s < count; s++) sum += scores[s] = Math.exp(scores[s] - top);
    for (let s = 0; s < count; s++) scores[s] /= sum;
  }

  // The most probable word of a step; a marker for an unknown word or a number only where the source has one.
  /** @type {(logits: Float32Array, nUnknown: number, step: number) => number} */
  function best(logits, nUnknown, step) {
    let [word, highest] = [-1, -Infinity];
    for (let v = step === 0 ? UNKNOWN : END; v < size; v++) {
      if (!(logits[v] > highest) || v === mask || (v >= UNKNOWN + nUnknown && v < UNKNOWN + slots)) continue;
      [word, highest] = [v, logits[v]];
    }
    return word;
  }

  // Greedy decoding of what is remembered; at(step) is z_1 there, and each word of `left` comes at most so
  // often.
  /** @type {(at: CodeAt, limit: number, nUnknown: number, left: Map<number, number>) => number[]} */
  function write(at, limit, nUnknown, left) {
    begun.fill(0);
    begun.set(at(0));
    for (let i = 0; i < count * E; i++) begun[N + (i % E)] += latents[i] / count;
    cell.c.set(initial(begun));
    for (let i = 0; i < H; i++) cell.h[i] = Math.tanh(cell.c[i]);
    /** @type {number[]} */
    const written = [];
    let previous = embedded(START);
    for (let step = 0; step < limit; step++) {
      read1.set(previous);
      read1.set(at(step), E);
      stepLSTM(cell, read1);
      attend(cell.h, previous, step);
      read2.set(cell.h);
      read2.set(at(step), H);
      const out = output(read2);
      for (let s = 0, i = 0; s < count; s++)
        for (let e = 0; e < E; e++, i++) out[e] += scores[s] * latents[i];
      const logits = applyLayer(logitsOf, out);
      for (const [word, times] of left) if (times < 1) logits[word] = -Infinity;
      const word = best(logits, nUnknown, step);
      if (word === END) break;
      const times = left.get(word);
      if (times !== undefined) left.set(word, times - 1);
      written.push(word);
      previous = embedded(word);
    }
    return written;
  }

  /** @type {(weights: number[]) => Float32Array} */
  function placeOf(weights) {
    const mean = new Float32Array(N);
    for (let k = 0; k < K; k++) for (let n = 0; n < N; n++) mean[n] += weights[k] * t.vertices[k * N + n];
    return mean;
  }

  // The lightest change that the model itself reads as asked for: one margin after the other, until the
  // agreement reaches the threshold; else the one that agrees best.
  /** @type {(source: Sentence, weights: number[], options: Rewriting) => Rewrite} */
  function rewriteSentence(source, weights, { margins, threshold, switchAt = null, weightsAfter = weights }) {
    /** @type {(step: number) => 0 | 1} */
    const after = (step) => (switchAt !== null && step >= switchAt ? 1 : 0);
    const targets = [weights, weightsAfter];
    const codes = targets.map(placeOf);
    /** @type {CodeAt} */
    const at = (step) => codes[after(step)];
    const { words, unknown, tokens, unknownWords } = source;
    const same = { words, tokens, masked: words.map(() => false), margin: margins[0], agreement: 1 };
    if (tokens.length === unknownWords.length) return same;
    source.reading ??= read(words);
    const says = against(source.reading, (step) => targets[after(step)], words.length);
    const final = targets[after(words.length + longer - 1)];
    const nUnknown = Math.min(slots, unknown.length);
    /** @type {[number, number][]} */
    const scarce = [[UNKNOWN + slots - 1, unknown.length - slots + 1]];
    if (number !== undefined) scarce.push([number, words.filter((word) => word === number).length]);
    /** @type {Omit<Rewrite, "tokens">} */
    let lightest = { ...same, agreement: -Infinity };
    let hidden = -1;
    for (const margin of margins) {
      const masked = words.map((_, s) => says[s] > margin);
      const hides = masked.filter(Boolean).length;
      // The same words hidden as before: the same sentence again.
      if (hides === hidden) continue;
      hidden = hides;
      remember(words.map((word, s) => (masked[s] ? mask : word)));
      const written = write(at, words.length + longer, nUnknown, new Map(scarce));
      const reading = read(written);
      const agreement = 1 - reading.p.reduce((sum, p, k) => sum + Math.abs(p - final[k]), 0) / 2;
      // The slack keeps the lighter change where both agree but for rounding.
      if (agreement > lightest.agreement + 1e-6) {
        lightest = { words: written, masked, margin, agreement, reading };
      }
      if (lightest.agreement >= threshold) break;
    }
    return { ...lightest, tokens: decode(lightest.words, unknown) };
  }

  /** @type {SteeringModel["rewrite"]} */
  function rewrite(source, weights, options) {
    let start = 0;
    const rewrites = source.parts.map((part) => {
      const switchAt = options.switchAt == null ? null : Math.max(0, options.switchAt - start);
      start += part.words.length;
      return rewriteSentence(part, weights, { ...options, switchAt });
    });
    source.reading ??= read(source.words);
    const words = rewrites.flatMap((part) => part.words);
    return {
      words,
      tokens: rewrites.flatMap((part) => part.tokens),
      masked: rewrites.flatMap((part) => part.masked),
      margin: Math.min(...rewrites.map((part) => part.margin)),
      agreement: Math.min(...rewrites.map((part) => part.agreement)),
      reading: read(words),
    };
  }

  return {
    encode,
    read,
    rewrite,
    golden: golden.length,
    goldenError(g) {
      const { sentence, weights, margins, threshold, rewrite: text } = golden[g];
      const { tokens } = rewrite(encode(sentence.split(" ")), weights, { margins, threshold });
      return tokens.join(" ") === text ? 0 : 1;
    },
  };
}

/** @type {(model: WidgetModel) => Promise<SteeringModel>} */
export const loadText = (model) => loadShared(model, unpackText);
