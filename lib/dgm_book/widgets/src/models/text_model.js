// The steering model in the page: a sentence in, the same sentence said differently out. The numbers in
// brackets are the equations of dgm/steering.py.

import { layerIn, lstmCell, roomFor, stepLSTM } from "./lstm.js";
import { applyLayer, bufferOf, loadShared, unpackTensor } from "./nn.js";
import { splitSentences } from "./tokens.js";

export const [PAD, START, END, UNKNOWN] = [0, 1, 2, 3];

/** @type {(weights: WidgetModel) => SteeringModel} */
function unpackText(weights) {
  const buffer = bufferOf(weights.get("data"));
  /** @type {TextHeader} */
  const header = weights.get("header");
  const { tensors, max_words: most } = header;
  // Each tensor, one output for each row, inputs for each word: more than is taken.
  let floats = 0;
  for (const { shape } of Object.values(tensors)) {
    const [rows, columns] = [shape[0] ?? 1, shape[1] ?? 1];
    floats += rows * columns + rows + (most + 10) * (columns + 4);
  }
  const room = roomFor(floats);
  /** @type {Record<string, Float32Array>} */
  const t = {};
  for (const [name, tensor] of Object.entries(tensors)) {
    const wide = unpackTensor(buffer, tensor);
    t[name] = room.take(wide.length, wide);
  }
  return steeringModel(t, header, room);
}

/** @type {(t: Record<string, Float32Array>, header: TextHeader, room: Room) => SteeringModel} */
function steeringModel(t, { tensors, words, unknown_slots: slots, max_words: most, longer, golden }, room) {
  const known = words.split(" ");
  const markers = slots + 4;
  const MASK = markers - 1;
  const ids = new Map(known.map((word, i) => [word, markers + i]));
  const [size, E] = tensors["embedding.weight"].shape;
  const [K, N] = tensors.vertices.shape;
  const H = tensors["lstm.weight_hh_l0"].shape[1];
  const C = tensors["near.weight"].shape[0];
  const reach = (t.by_distance.length - 1) / 2;
  const { take } = room;
  /** @type {(name: string, activation?: string) => Layer} */
  const layer = (name, activation = "linear") => {
    const bias = t[`${name}.bias`] ?? take(tensors[`${name}.weight`].shape[0]);
    return layerIn(t[`${name}.weight`], bias, room, activation);
  };
  const voters = layer("voters", "relu");
  const query = layer("query");
  const votesOf = { ...layer("weights"), bias: take(K) };
  const near = layer("near", "relu");
  const far = layer("far", "relu");
  const shift = layer("shift");
  const initial = layer("initial");
  const asks = layer("attention_query");
  const keyOf = layer("attention_key");
  const output = layer("output");
  const cell = lstmCell((name) => t[`lstm.${name}_l0`], room);
  const logitsOf = layerIn(t["embedding.weight"], t.word_bias, room);
  const z = { latents: take(most * E), keys: take(most * C), count: 0 };
  const window = { five: take(5 * E), wide: take(5 * C) };
  const hiddens = take(most * C);
  const scores = take(most);
  const seen = take(E + N);
  const told = take(H + N);
  const begun = take(N + E);
  /** @type {(word: number) => Float32Array} */
  const embedded = (word) => t["embedding.weight"].subarray(word * E, (word + 1) * E);

  // What a reader types, and its sentences, which are rewritten one by one.
  /** @type {(tokens: string[]) => Source} */
  function encode(tokens) {
    const parts = splitSentences(tokens, most).map(encodeSentence);
    return {
      tokens,
      parts,
      words: parts.flatMap((part) => part.words),
      unknownWords: parts.flatMap((part) => part.unknownWords),
    };
  }

  /** @type {(tokens: string[]) => Sentence} */
  function encodeSentence(tokens) {
    /** @type {string[]} */
    const firsts = [];
    /** @type {string[]} */
    const rest = [];
    /** @type {string[]} */
    const unknownWords = [];
    const words = tokens.map((word) => {
      const id = ids.get(word);
      if (id !== undefined) return id;
      unknownWords.push(word);
      if (!firsts.includes(word)) {
        if (firsts.length < slots - 1) firsts.push(word);
        else {
          rest.push(word);
          return UNKNOWN + slots - 1;
        }
      }
      return UNKNOWN + firsts.indexOf(word);
    });
    return { words, tokens, unknown: [...firsts, ...rest], unknownWords };
  }

  /** @type {(words: number[], unknown: string[]) => string[]} */
  function decodeWords(words, unknown) {
    const rest = unknown.slice(slots - 1);
    return words.map((word) => {
      if (word >= markers) return known[word - markers];
      return word === UNKNOWN + slots - 1 ? (rest.shift() ?? "") : unknown[word - UNKNOWN];
    });
  }

  /** Equations (1) and (2); votes is (S, K). @type {(words: number[]) => Reading} */
  function read(words) {
    const votes = new Float32Array(words.length * K);
    const logits = Float64Array.from(t["weights.bias"]);
    for (let s = 0; s < words.length; s++) {
      const vote = applyLayer(votesOf, applyLayer(query, applyLayer(voters, embedded(words[s]))));
      votes.set(vote, s * K);
      for (let k = 0; k < K; k++) logits[k] += vote[k];
    }
    const top = Math.max(...logits);
    const odds = Array.from(logits, (x) => Math.exp(x - top));
    const sum = odds.reduce((a, b) => a + b);
    return { votes, p: odds.map((x) => x / sum) };
  }

  // Equation (3): what each word says against the weights that schedule(place) wants.
  /** @type {(reading: Reading, schedule: (place: number) => number[], count: number) => number[]} */
  function against({ p, votes }, schedule, count) {
    return Array.from({ length: count }, (_, s) => {
      let sum = 0;
      const wanted = schedule(s);
      for (let k = 0; k < K; k++) sum += (p[k] - wanted[k]) * votes[s * K + k];
      return sum;
    });
  }

  /** Equation (5), the means: fills z. @type {(source: number[]) => void} */
  function remember(source) {
    const count = source.length;
    z.count = count;
    for (let s = 0; s < count; s++) {
      for (let i = 0; i < 5; i++) {
        const word = source[s + i - 2];
        if (word === undefined) window.five.fill(0, i * E, (i + 1) * E);
        else window.five.set(embedded(word), i * E);
      }
      hiddens.set(applyLayer(near, window.five), s * C);
    }
    for (let s = 0; s < count; s++) {
      for (let i = 0; i < 5; i++) {
        const place = s + i - 2;
        if (place < 0 || place >= count) window.wide.fill(0, i * C, (i + 1) * C);
        else window.wide.set(hiddens.subarray(place * C, (place + 1) * C), i * C);
      }
      const h = applyLayer(far, window.wide);
      for (let c = 0; c < C; c++) h[c] += hiddens[s * C + c];
      const latent = z.latents.subarray(s * E, (s + 1) * E);
      const moved = applyLayer(shift, h);
      const x = embedded(source[s]);
      for (let e = 0; e < E; e++) latent[e] = x[e] + moved[e];
      z.keys.set(applyLayer(keyOf, latent), s * C);
    }
  }

  // Where equation (6) looks at step t: by content, by distance, by what stands to the left.
  /** @type {(hidden: Float32Array, previous: Float32Array, step: number) => void} */
  function attend(hidden, previous, step) {
    const asked = applyLayer(asks, hidden);
    const scale = 1 / Math.sqrt(C);
    let top = -Infinity;
    for (let s = 0; s < z.count; s++) {
      let content = 0;
      let match = 0;
      for (let c = 0, i = s * C; c < C; c++, i++) content += asked[c] * z.keys[i];
      if (s > 0) for (let e = 0, i = (s - 1) * E; e < E; e++, i++) match += previous[e] * z.latents[i];
      const distance = Math.max(-reach, Math.min(reach, s - step)) + reach;
      scores[s] = scale * content + t.by_match[0] * match + t.by_distance[distance];
      if (scores[s] > top) top = scores[s];
    }
    let sum = 0;
    for (let s = 0; s < z.count; s++) sum += scores[s] = Math.exp(scores[s] - top);
    for (let s = 0; s < z.count; s++) scores[s] /= sum;
  }

  // The most probable word of a step; a marker for an unknown word or a number only where the source has one.
  /** @type {(logits: Float32Array, nUnknown: number, step: number) => number} */
  function best(logits, nUnknown, step) {
    let word = -1;
    let most = -Infinity;
    for (let v = step === 0 ? UNKNOWN : END; v < size; v++) {
      if (!(logits[v] > most) || v === MASK || (v >= UNKNOWN + nUnknown && v < UNKNOWN + slots)) continue;
      word = v;
      most = logits[v];
    }
    return word;
  }

  // Greedy decoding of what z remembers; at(step) is z_1 there, and each word of `left` comes at most so
  // often.
  /** @type {(at: CodeAt, limit: number, nUnknown: number, left: Map<number, number>) => number[]} */
  function write(at, limit, nUnknown, left) {
    begun.fill(0);
    begun.set(at(0));
    for (let s = 0, i = 0; s < z.count; s++)
      for (let e = 0; e < E; e++, i++) begun[N + e] += z.latents[i] / z.count;
    cell.c.set(applyLayer(initial, begun));
    for (let i = 0; i < H; i++) cell.h[i] = Math.tanh(cell.c[i]);
    /** @type {number[]} */
    const made = [];
    let previous = embedded(START);
    for (let step = 0; step < limit; step++) {
      seen.set(previous);
      seen.set(at(step), E);
      stepLSTM(cell, seen);
      attend(cell.h, previous, step);
      told.set(cell.h);
      told.set(at(step), H);
      const out = applyLayer(output, told);
      for (let s = 0, i = 0; s < z.count; s++)
        for (let e = 0; e < E; e++, i++) out[e] += scores[s] * z.latents[i];
      const logits = applyLayer(logitsOf, out);
      for (const [word, count] of left) if (count < 1) logits[word] = -Infinity;
      const word = best(logits, nUnknown, step);
      if (word === END) break;
      const times = left.get(word);
      if (times !== undefined) left.set(word, times - 1);
      made.push(word);
      previous = embedded(word);
    }
    return made;
  }

  /** @type {(weights: number[]) => Float32Array} */
  function place(weights) {
    const mean = new Float32Array(N);
    for (let k = 0; k < K; k++) for (let n = 0; n < N; n++) mean[n] += weights[k] * t.vertices[k * N + n];
    return mean;
  }

  // The lightest change that the model itself reads as wanted: one margin after the other, until the
  // agreement reaches the threshold; else the one that agrees best.
  /** @type {(source: Sentence, weights: number[], options: Rewriting) => Rewrite} */
  function rewriteSentence(source, weights, { margins, threshold, switchAt = null, weightsAfter = weights }) {
    /** @type {(step: number) => boolean} */
    const after = (step) => switchAt !== null && step >= switchAt;
    /** @type {(step: number) => number[]} */
    const schedule = (step) => (after(step) ? weightsAfter : weights);
    const [z1, later] = [place(weights), place(weightsAfter)];
    /** @type {CodeAt} */
    const at = (step) => (after(step) ? later : z1);
    const { words, unknown, tokens, unknownWords } = source;
    const same = { words, tokens, masked: words.map(() => false), margin: margins[0], agreement: 1 };
    if (tokens.length === unknownWords.length) return same;
    source.reading ??= read(words);
    const says = against(source.reading, schedule, words.length);
    const final = schedule(words.length + longer - 1);
    const nUnknown = Math.min(slots, unknown.length);
    const number = ids.get("_num_");
    /** @type {[number, number][]} */
    const scarce = [[UNKNOWN + slots - 1, unknown.length - slots + 1]];
    if (number !== undefined) scarce.push([number, words.filter((word) => word === number).length]);
    /** @type {Omit<Rewrite, "tokens">} */
    let kept = { ...same, agreement: -Infinity };
    let hidden = -1;
    for (const margin of margins) {
      const masked = words.map((_, s) => says[s] > margin);
      const count = masked.filter(Boolean).length;
      // The same words hidden as before: the same sentence again.
      if (count === hidden) continue;
      hidden = count;
      remember(words.map((word, s) => (masked[s] ? MASK : word)));
      const made = write(at, words.length + longer, nUnknown, new Map(scarce));
      const reading = read(made);
      const agreement = 1 - reading.p.reduce((sum, p, k) => sum + Math.abs(p - final[k]), 0) / 2;
      // The slack keeps the lighter change where both agree but for rounding.
      if (agreement > kept.agreement + 1e-6) kept = { words: made, masked, margin, agreement, reading };
      if (kept.agreement >= threshold) break;
    }
    return { ...kept, tokens: decodeWords(kept.words, unknown) };
  }

  // Each sentence by itself; the smallest margin and the least agreement count.
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

  /** @type {(from: number, to: number) => number} */
  function goldenWrong(from, to) {
    return golden.slice(from, to).filter(({ sentence, weights, margins, threshold, rewrite: text }) => {
      const made = rewrite(encode(sentence.split(" ")), weights, { margins, threshold });
      return made.tokens.join(" ") !== text;
    }).length;
  }

  return { encode, read, rewrite, goldenWrong, golden: golden.length, vertices: K };
}

// Rewrites the golden sentences one by one when the page has nothing else to do, once a page.
/** @type {(text: SteeringModel, show: (wrong: number) => void) => void} */
export function checkGolden(text, show) {
  text.wrong ??= new Promise((resolve) => {
    const idle = globalThis.requestIdleCallback ?? ((run) => setTimeout(run, 50));
    let wrong = 0;
    /** @type {(i: number) => void} */
    const next = (i) => {
      if (i === text.golden) return resolve(wrong);
      wrong += text.goldenWrong(i, i + 1);
      idle(() => next(i + 1), { timeout: 100 });
    };
    idle(() => next(0), { timeout: 100 });
  });
  text.wrong.then((wrong) => text.golden && show(wrong));
}

/** @type {(model: WidgetModel) => Promise<SteeringModel>} */
export const loadText = (model) => loadShared(model, unpackText);
