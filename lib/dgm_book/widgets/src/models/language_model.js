// Language models in the page: an LSTM of one layer whose embedding is also the softmax's weight.

import { layerIn, lstmCell, roomFor, stepLSTM } from "./lstm.js";
import { applyLayer, bufferOf, farthest, loadShared, unpackTensor } from "./nn.js";

export const MARKERS = ["<pad>", "<s>", "</s>", "<unk>"];
const [END, UNKNOWN] = [2, 3];

// The number in [0, 1) that draws a word: `murmur_mix` of a number that no other place has.
/** @type {(seed: number, sentence: number, word: number) => number} */
function uniform(seed, sentence, word) {
  let x = Math.imul((seed * 64 + sentence) * 64 + word + 1, 0x9e3779b1);
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return ((x ^ (x >>> 16)) >>> 0) / 2 ** 32;
}

// What a reader types, as words: lower case, apart by spaces, without punctuation.
/** @type {(text: string) => string[]} */
export const wordsOf = (text) =>
  text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+(?:['\u2019-][\p{L}\p{M}\p{N}]+)*/gu) ?? [];

/** @type {(weights: WidgetModel) => Languages} */
function unpackLanguage(weights) {
  const buffer = bufferOf(weights.get("data"));
  /** @type {{ models: LanguageHeader[], words: string, most: number, golden: LanguageGolden }} */
  const { models, words, most, golden } = weights.get("header");
  let floats = 0;
  for (const { tensors } of models) {
    // Each tensor, and more than the inputs and outputs of its layer take.
    for (const { shape } of Object.values(tensors)) floats += shape[0] * (shape[1] ?? 1) + 2 * shape[0] + 64;
  }
  const room = roomFor(floats);
  const tokens = [...MARKERS, ...words.split(" ")];
  const ids = new Map(tokens.map((word, id) => [word, id]));
  const all = models.map((model) => languageModel(buffer, model, room, most));

  /** @type {Languages["encode"]} */
  function encode(typed) {
    const unknown = typed.map((word) => (ids.get(word) ?? 0) < MARKERS.length);
    const known = typed.map((word, i) => (unknown[i] ? UNKNOWN : (ids.get(word) ?? UNKNOWN)));
    return { words: typed, unknown, ids: [END, ...known] };
  }

  /** How far the log-probabilities after golden row g are off, at most. @type {(g: number) => number} */
  function goldenError(g) {
    let worst = 0;
    for (const { name, after } of all) {
      const expected = new Float32Array(
        buffer,
        golden.log_probs[name] + 4 * g * tokens.length,
        tokens.length,
      );
      worst = Math.max(worst, farthest(after(golden.tokens[g]), expected));
    }
    return worst;
  }

  return { models: all, tokens, encode, goldenError, golden: golden.tokens.length };
}

/** @type {(buffer: ArrayBuffer, model: LanguageHeader, room: Room, most: number) => Language} */
function languageModel(buffer, { name, tensors }, room, most) {
  /** @type {(key: string) => Float32Array} */
  const wide = (key) => {
    const values = unpackTensor(buffer, tensors[key]);
    return room.take(values.length, values);
  };
  const [V, E] = tensors.embedding.shape;
  const embedding = wide("embedding");
  const cell = lstmCell(wide, room);
  const head = layerIn(embedding, wide("bias"), room);
  const heights = new Float64Array(V);

  function begin() {
    cell.h.fill(0);
    cell.c.fill(0);
  }

  /** @type {(token: number) => void} */
  const read = (token) => stepLSTM(cell, embedding.subarray(token * E, (token + 1) * E));

  /** The log-probabilities after a row of tokens. @type {(row: number[]) => Float32Array} */
  function after(row) {
    begin();
    row.forEach(read);
    const logits = applyLayer(head, cell.h);
    const top = logits.reduce((a, b) => Math.max(a, b));
    const rest = top + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - top), 0));
    return logits.map((x) => x - rest);
  }

  // The token in which the share u of the probability at this temperature ends.
  /** @type {(u: number, temperature: number) => number} */
  function draw(u, temperature) {
    const logits = applyLayer(head, cell.h);
    let top = -Infinity;
    for (let v = 0; v < V; v++) top = Math.max(top, logits[v]);
    let sum = 0;
    for (let v = 0; v < V; v++) heights[v] = sum += Math.exp((logits[v] - top) / temperature);
    const token = heights.findIndex((height) => height > u * sum);
    return token < 0 ? V - 1 : token;
  }

  // Reads the opening; then each call writes a sentence: its ids, and whether it ended by itself. In between,
  // the cell may read other things.
  /** @type {Language["story"]} */
  function story(opening, seed, temperature) {
    begin();
    opening.forEach(read);
    const [h, c] = [cell.h.slice(), cell.c.slice()];
    let i = 0;
    return () => {
      cell.h.set(h);
      cell.c.set(c);
      /** @type {number[]} */
      const ids = [];
      let ended = false;
      while (!ended && ids.length < most) {
        const token = draw(uniform(seed, i, ids.length), temperature);
        read(token);
        ended = token === END;
        if (!ended) ids.push(token);
      }
      h.set(cell.h);
      c.set(cell.c);
      i += 1;
      return { ids, ended };
    };
  }

  return { name, after, story };
}

// Compares with the golden log-probabilities, once a page, a row whenever the page has nothing else to do.
/** @type {(shared: Languages, show: (error: number) => void) => void} */
export function checkLanguage(shared, show) {
  if (!shared.golden) return;
  const idle = globalThis.requestIdleCallback ?? ((run) => setTimeout(run, 20));
  shared.error ??= new Promise((resolve) => {
    /** @type {(g: number, worst: number) => void} */
    const next = (g, worst) =>
      g < shared.golden
        ? idle(() => next(g + 1, Math.max(worst, shared.goldenError(g))), { timeout: 100 })
        : resolve(worst);
    next(0, 0);
  });
  shared.error.then(show);
}

/** @type {(model: WidgetModel) => Promise<Languages>} */
export const loadLanguage = (model) => loadShared(model, unpackLanguage);
