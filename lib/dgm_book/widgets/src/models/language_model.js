// Language models in the page: an LSTM of one layer whose embedding is also the softmax's weight.

import { mix32 } from "./draws.js";
import { clearCell, layerIn, lstmCell, roomFor, sizeOf, stepLSTM } from "./lstm.js";
import { applyLayer, bufferOf, farthest, loadShared, unpackTensor } from "./nn.js";

export const MARKERS = ["<pad>", "<s>", "</s>", "<unk>"];
const [END, UNKNOWN] = [2, 3];

// The number in [0, 1) that draws a word: `murmur_mix` of a number that no other place has.
const uniform = (/** @type {number} */ seed, /** @type {number} */ sentence, /** @type {number} */ word) =>
  mix32(Math.imul((seed * 64 + sentence) * 64 + word + 1, 0x9e3779b1)) / 2 ** 32;

// What a reader types, as words: lower case, apart by spaces, without punctuation.
export const wordsOf = (/** @type {string} */ text) =>
  text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+(?:['\u2019-][\p{L}\p{M}\p{N}]+)*/gu) ?? [];

/** @type {(weights: WidgetModel) => Languages} */
function unpackLanguage(weights) {
  const buffer = bufferOf(weights.get("data"));
  /** @type {{ models: LanguageHeader[], words: string, most: number, golden: LanguageGolden }} */
  const { models, words, most, golden } = weights.get("header");
  const room = roomFor(models.reduce((sum, { tensors }) => sum + sizeOf(tensors), 0));
  const tokens = [...MARKERS, ...words.split(" ")];
  const ids = new Map(tokens.map((word, id) => [word, id]));
  const all = models.map((model) => languageModel(buffer, model, room, most));
  return {
    models: all,
    tokens,
    encode(typed) {
      const unknown = typed.map((word) => (ids.get(word) ?? 0) < MARKERS.length);
      const known = typed.map((word, i) => (unknown[i] ? UNKNOWN : (ids.get(word) ?? UNKNOWN)));
      return { words: typed, unknown, ids: [END, ...known] };
    },
    golden: golden.tokens.length,
    goldenError(g) {
      const V = tokens.length;
      const errors = all.map(({ name, after }) => {
        const expected = new Float32Array(buffer, golden.log_probs[name] + 4 * g * V, V);
        return farthest(after(golden.tokens[g]), expected);
      });
      return Math.max(...errors);
    },
  };
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
  /** @type {(token: number) => void} */
  const read = (token) => stepLSTM(cell, embedding.subarray(token * E, (token + 1) * E));

  // The token in which the share u of the probability at this temperature ends.
  function draw(/** @type {number} */ u, /** @type {number} */ temperature) {
    const logits = applyLayer(head, cell.h);
    let [top, sum] = [-Infinity, 0];
    for (let v = 0; v < V; v++) top = Math.max(top, logits[v]);
    for (let v = 0; v < V; v++) heights[v] = sum += Math.exp((logits[v] - top) / temperature);
    const token = heights.findIndex((height) => height > u * sum);
    return token < 0 ? V - 1 : token;
  }

  return {
    name,
    after(row) {
      clearCell(cell);
      row.forEach(read);
      const logits = applyLayer(head, cell.h);
      const top = logits.reduce((a, b) => Math.max(a, b));
      const rest = top + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - top), 0));
      return logits.map((x) => x - rest);
    },
    story(opening, seed, temperature) {
      clearCell(cell);
      opening.forEach(read);
      const [h, c] = [cell.h.slice(), cell.c.slice()];
      let sentence = 0;
      return () => {
        cell.h.set(h);
        cell.c.set(c);
        /** @type {number[]} */
        const ids = [];
        let ended = false;
        while (!ended && ids.length < most) {
          const token = draw(uniform(seed, sentence, ids.length), temperature);
          read(token);
          ended = token === END;
          if (!ended) ids.push(token);
        }
        h.set(cell.h);
        c.set(cell.c);
        sentence += 1;
        return { ids, ended };
      };
    },
  };
}

/** @type {(model: WidgetModel) => Promise<Languages>} */
export const loadLanguage = (model) => loadShared(model, unpackLanguage);
