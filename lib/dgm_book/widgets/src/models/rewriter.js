// The rewriter of sentences in the page. The numbers in brackets are the equations of dgm/nets/copying.py.

import { last } from "./arrays.js";
import { blockOf, everywhere, linearOf, logSumExp, normOf, roomOf, softmax } from "./transformer.js";

export const [PAD, START, END] = [0, 1, 2];
const REACH = 8; // beyond which a place is as far as any
const [LEAST_P, IMPOSSIBLE] = [1e-9, -1e4];
const LEAST_LOG_P = -20;
const BEAMS = 16; // at most

const logistic = (/** @type {number} */ x) => 1 / (1 + Math.exp(-x));
const logLogistic = (/** @type {number} */ x) => Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x)));

export class Rewriter {
  /** @param {Arrays} t @param {Tensors} tensors @param {RewriterSizes} sizes @param {number} firstWord */
  constructor(t, tensors, sizes, firstWord) {
    const { width, places } = sizes;
    const most = Math.max(places, BEAMS);
    const room = roomOf(tensors, most);
    this.t = t;
    this.sizes = sizes;
    this.x = room.take(width * most);
    const layers = (/** @type {string} */ name, /** @type {number} */ n) =>
      Array.from({ length: n }, (_, i) => blockOf(t, `${name}.${i}`, sizes, room, most));
    this.encoder = layers("encoder", sizes.encoder_layers);
    this.decoder = layers("decoder", sizes.decoder_layers);
    const norm = (/** @type {string} */ name) => normOf(t[`${name}.weight`], t[`${name}.bias`], room, most);
    this.encoderNorm = norm("encoder_norm");
    this.decoderNorm = norm("decoder_norm");
    const linear = (/** @type {string} */ name) =>
      linearOf(t[`${name}.weight`], t[`${name}.bias`], width, room, most);
    this.pointerKey = linear("pointer_key");
    this.pointerQuery = linear("pointer_query");
    this.gate = linear("gate");
    this.room = room;
    this.words = t.bias.length;
    // None but words and the end can be written; what fills up to sixteen rows neither.
    const bias = new Float32Array(16 * Math.ceil(t.bias.length / 16)).fill(IMPOSSIBLE);
    for (const [v, b] of t.bias.entries()) if (v >= firstWord || v === END) bias[v] = b;
    this.vocabulary = linearOf(t["embedding.weight"], bias, width, room, most);
  }

  /** Row i of x becomes a word's vector, a place's and the grade's. @type {(...of: EmbedParts) => void} */
  embed(i, word, places, place, grade) {
    const { t, x } = this;
    const { width } = this.sizes;
    for (let k = 0; k < width; k++) {
      x[i * width + k] = t["embedding.weight"][word * width + k] + places[place * width + k] + grade[k];
    }
  }

  /** Reads a source, <s> first, </s> last. @type {(source: number[], weights: number[]) => Memory} */
  encode(source, weights) {
    const { t, x } = this;
    const { width, places, grades } = this.sizes;
    if (source.length > places || weights.length !== grades)
      throw new RangeError(`${source.length} tokens, ${weights.length} weights: want ${places}, ${grades}`);
    const grade = new Float32Array(width);
    for (let g = 0; g < grades; g++)
      for (let k = 0; k < width; k++) grade[k] += weights[g] * t["grades.weight"][g * width + k];
    const n = source.length;
    for (let s = 0; s < n; s++) this.embed(s, source[s], t["read_places.weight"], s, grade);
    const [own, paths] = [new Float32Array(2 * n * width), everywhere(n, n)];
    for (const layer of this.encoder) layer.forward(x, own, 0, paths);
    const states = this.encoderNorm(x, n);
    const pointer = this.pointerKey.apply(states, n).slice(0, n * width);
    return { source, grade, pointer, layers: this.decoder.map((layer) => layer.remember(states, n)) };
  }

  /** Before the first token, with room for so many. @type {(m: Memory, rows: number) => Progress} */
  start(memory, rows) {
    const size = 2 * rows * this.sizes.width;
    return { memory, own: this.decoder.map(() => new Float32Array(size)), used: 0 };
  }

  /**
   * The decoder's states of rows, each with its tokens and the places of its earlier states, to which its own
   * is added. @type {(rows: DecoderRow[], progress: Progress) => Float32Array}
   */
  states(rows, progress) {
    const { memory, own, used } = progress;
    for (const [i, { tokens, path }] of rows.entries()) {
      this.embed(i, last(tokens), this.t["write_places.weight"], tokens.length - 1, memory.grade);
      path.push(used + i);
    }
    progress.used += rows.length;
    const paths = rows.map(({ path }) => path);
    const sourcePaths = everywhere(memory.source.length, rows.length);
    for (const [l, layer] of this.decoder.entries())
      layer.forward(this.x, own[l], used, paths, memory.layers[l], sourcePaths);
    return this.decoderNorm(this.x, rows.length);
  }

  /** Equation (2), shares or logs of them. @type {(...of: PointParts) => Float64Array} */
  pointed({ source, pointer }, query, i, tokens) {
    const { width } = this.sizes;
    const { follow, shift } = this.t;
    const scores = new Float64Array(source.length);
    const [place, token, before] = [tokens.length - 1, last(tokens), tokens[tokens.length - 2] ?? PAD];
    for (let s = 0; s < source.length; s++) {
      let sum = 0;
      for (let k = 0; k < width; k++) sum += query[i * width + k] * pointer[s * width + k];
      const same = source[s - 1] === token;
      sum = sum / Math.sqrt(width) + shift[Math.max(-REACH, Math.min(REACH, s - 1 - place)) + REACH];
      if (same) sum += follow[0];
      if (same && source[s - 2] === before) sum += follow[1];
      scores[s] = source[s] === START ? IMPOSSIBLE : sum;
    }
    softmax(scores, source.length);
    return scores;
  }

  /** The parts of equation (1) for rows. @type {(rows: DecoderRow[], progress: Progress) => Mixture[]} */
  mixtures(rows, progress) {
    const [n, { memory }] = [rows.length, progress];
    const states = this.states(rows, progress);
    const query = this.pointerQuery.apply(states, n);
    const gates = this.gate.apply(states, n);
    const all = this.vocabulary.apply(states, n);
    return rows.map(({ tokens }, i) => {
      const logits = all.subarray(i * this.vocabulary.rows, i * this.vocabulary.rows + this.words);
      const pointed = this.pointed(memory, query, i, tokens);
      return { logits, total: logSumExp(logits, this.room), pointed, gate: gates[i] };
    });
  }

  /** The most probable next tokens, at most `count`, best first. @type {(...of: BestParts) => Next[]} */
  best({ logits, total, pointed, gate }, source, count) {
    const copied = logistic(gate);
    /** @type {Map<number, number>} */
    const p = new Map();
    const writes = (/** @type {number} */ id) => (1 - copied) * Math.exp(logits[id] - total);
    for (const [s, id] of source.entries()) p.set(id, (p.get(id) ?? writes(id)) + copied * pointed[s]);
    /** @type {number[]} */
    const top = [];
    let least = -Infinity;
    for (let v = END; v < logits.length; v++) {
      if (!(logits[v] > least) || p.has(v)) continue;
      let at = top.length;
      while (at > 0 && logits[top[at - 1]] < logits[v]) at--;
      top.splice(at, 0, v);
      if (top.length > count) top.pop();
      if (top.length === count) least = logits[last(top)];
    }
    for (const id of top) p.set(id, writes(id));
    return [...p]
      .filter(([id]) => id !== PAD && id !== START)
      .map(([id, share]) => ({ id, nats: Math.fround(Math.log(Math.min(1, Math.max(LEAST_P, share)))) }))
      .sort((a, b) => b.nats - a.nats || a.id - b.id)
      .slice(0, count);
  }

  /**
   * The beam of dgm.sampling.beam, a step at a time, best first. Tokens have </s> last where it was reached.
   * @type {(...of: BeamParts) => Generator<void, Written[]>}
   */
  *beam(memory, width, steps) {
    const progress = this.start(memory, width * steps);
    /** @type {Hypothesis[]} */
    let beam = [{ tokens: [START], path: [], nats: 0, over: false }];
    for (let t = 0; t < steps && beam.some(({ over }) => !over); t++) {
      const open = beam.filter(({ over }) => !over);
      const mixtures = this.mixtures(open, progress);
      /** @type {{ from: Hypothesis, nats: number, id: number }[]} */
      const further = [];
      for (const from of beam) {
        if (from.over) further.push({ from, nats: from.nats, id: PAD });
        // Sums in single precision, as the library's: what is equal there is equal here.
        else
          for (const { id, nats } of this.best(mixtures[open.indexOf(from)], memory.source, width))
            further.push({ from, nats: Math.fround(from.nats + nats), id });
      }
      further.sort((a, b) => b.nats - a.nats);
      beam = further
        .slice(0, width)
        .map(({ from, nats, id }) =>
          from.over ? from : { tokens: [...from.tokens, id], path: [...from.path], nats, over: id === END },
        );
      yield;
    }
    beam.sort((a, b) => b.nats - a.nats);
    return beam.map(({ tokens, nats, over }) => ({ tokens: tokens.slice(1), nats, finished: over }));
  }

  /**
   * log p of targets, <s> first and </s> last, in nats; beginnings that some have alike are read once.
   * @type {(m: Memory, targets: number[][]) => Generator<void, number[]>}
   */
  *logLikelihoods(memory, targets) {
    /** @type {Map<string, GoalRow>} */
    const all = new Map();
    for (const [which, target] of targets.entries()) {
      /** @type {[string, number[]]} */
      let [key, path] = ["", []];
      for (let i = 1; i < target.length; i++) {
        key += ` ${target[i - 1]}`;
        const row = all.get(key) ?? { tokens: target.slice(0, i), path, place: all.size, goals: [] };
        all.set(key, row);
        row.goals.push({ which, id: target[i] });
        path = [...row.path, row.place];
      }
    }
    const [rows, nats] = [[...all.values()], targets.map(() => 0)];
    const progress = this.start(memory, rows.length);
    for (let from = 0; from < rows.length; from += BEAMS) {
      const part = rows.slice(from, from + BEAMS);
      for (const [i, mixture] of this.mixtures(part, progress).entries())
        for (const { which, id } of part[i].goals) nats[which] += logShare(mixture, memory.source, id);
      yield;
    }
    return nats;
  }
}

/** log p of one token. @type {(mixture: Mixture, source: number[], id: number) => number} */
function logShare({ logits, total, pointed, gate }, source, id) {
  const written = logLogistic(-gate) + Math.max(LEAST_LOG_P, logits[id] - total);
  let share = 0;
  for (const [s, word] of source.entries()) share += word === id ? pointed[s] : Math.exp(LEAST_LOG_P);
  const copied = logLogistic(gate) + Math.log(share);
  const top = Math.max(written, copied);
  return top + Math.log(Math.exp(written - top) + Math.exp(copied - top));
}
