// Candidates of a rewriter, their scores and what to show of them; as in dgm.steering: equation (1) is its.

import { clauseBank } from "./clauses.js";
import { gradedReader } from "./graded_reader.js";
import { bufferOf, unpackTensor } from "./nn.js";
import { END, Rewriter, START } from "./rewriter.js";
import { risingPath } from "./slider.js";
import { splitSentences, tokenise } from "./tokens.js";
import { asTyped, counted, namesIn, stays } from "./typed_text.js";

const [WIDTH, MOST_WORDS, LONGER, SLOTS] = [10, 30, 8, 8];
const UNKNOWN = 3; // the first marker of an unknown word
const FIRST_WORD = UNKNOWN + SLOTS;
const [LEAST_AGREEMENT, MOST_CONTRAST] = [0.5, 6];
const LONGEST = 2000; // words of a caption
const TOO_BAD = "no rewrite was good enough";
const NONE = { likelihood: 0, contrast: 0, agreement: 0, leftOut: 0, added: 0, repeated: 0, total: 0 };
/** @type {(keyof RewriteScores)[]} */
const PARTS = ["likelihood", "contrast", "agreement", "leftOut", "added", "repeated", "total"];

/** @type {(words: string[]) => WordIds} */
function vocabularyOf(words) {
  const ids = new Map(words.map((word, i) => [word, FIRST_WORD + i]));
  return {
    id: (word) => ids.get(word) ?? UNKNOWN,
    encode(sentence, most = sentence.length) {
      /** @type {string[][]} */
      const [firsts, rest] = [[], []];
      const places = sentence.slice(0, most).map((word) => {
        if (!ids.has(word) && !firsts.includes(word)) (firsts.length < SLOTS - 1 ? firsts : rest).push(word);
        const slot = firsts.indexOf(word);
        return ids.get(word) ?? UNKNOWN + (slot < 0 ? SLOTS - 1 : slot);
      });
      return { ids: [START, ...places, END], unknown: [...firsts, ...rest] };
    },
    decode(places, unknown) {
      const [slots, rest] = [unknown.slice(0, SLOTS - 1), unknown.slice(SLOTS - 1)];
      const end = places.indexOf(END);
      return places.slice(0, end < 0 ? places.length : end).map((id) => {
        if (id >= FIRST_WORD) return words[id - FIRST_WORD];
        return (id === FIRST_WORD - 1 ? rest.shift() : slots[id - UNKNOWN]) ?? "<unk>";
      });
    },
    // An unknown word that the source lacks cannot be written: <s> is as unlikely.
    target(sentence, unknown) {
      const slots = new Map(unknown.map((word, i) => [word, UNKNOWN + Math.min(i, SLOTS - 1)]));
      return [START, ...sentence.map((word) => ids.get(word) ?? slots.get(word) ?? START), END];
    },
  };
}

/** @type {(model: RewritingModel, source: string[], words: string[]) => number[]} */
function changesOf({ vocabulary, content }, source, words) {
  const [old, now] = [counted(source), counted(words)];
  const counts = (/** @type {string} */ word) => /^\p{L}+$/u.test(word) && content[vocabulary.id(word)] > 0;
  /** @type {(a: Map<string, number>, b: Map<string, number>) => number} */
  const more = (a, b) =>
    [...a].reduce((sum, [word, n]) => sum + (counts(word) ? Math.max(0, n - (b.get(word) ?? 0)) : 0), 0);
  const twice = [...now].filter(([word, n]) => n > 1 && n > (old.get(word) ?? 0) && counts(word)).length;
  return [more(old, now), more(now, old), twice + words.filter((word, i) => word === words[i - 1]).length];
}

/** @type {(model: RewritingModel, scores: RewriteScores, nats: number, goal: number) => string} */
function reasonAgainst({ reader, leastNats, leastAgreement }, { agreement, contrast }, nats, goal) {
  const turned = reader ? agreement > (goal === 2 ? -leastAgreement : leastAgreement) : contrast > 0;
  if (!turned) return "it does not say what was asked";
  return nats > leastNats ? "" : TOO_BAD;
}

/** Equation (1); `unlikely` is the opposite's likelihood. @type {(...of: ScoreParts) => RankedCandidate} */
function scored(model, source, weights, words, nats, unlikely) {
  const { vocabulary, reader, scoreWeights } = model;
  const goal = weights.reduce((sum, w, k) => sum + w * k, 0);
  const sign = Math.sign(goal - 2);
  let agreement = 0;
  if (reader) {
    const apart = reader.value(vocabulary.encode(words).ids) - 2;
    agreement = sign ? Math.tanh(sign * apart) : -Math.abs(apart);
  }
  const contrast = Math.max(-MOST_CONTRAST, Math.min(MOST_CONTRAST, nats - unlikely));
  const [leftOut, added, repeated] = changesOf(model, source, words).map((n) => -n);
  const parts = {
    likelihood: nats / (words.length + 1),
    contrast,
    agreement,
    leftOut,
    added,
    repeated,
    total: 0,
  };
  const total = scoreWeights.reduce((sum, weight, i) => sum + weight * parts[PARTS[i]], 0);
  const scores = { ...parts, total };
  return { words, scores, reason: reasonAgainst(model, scores, nats, goal) };
}

/** One-hot: the end of the row of vertices that is farther. @type {(weights: number[]) => number[]} */
function opposite(weights) {
  const mean = weights.reduce((sum, w, k) => sum + w * k, 0);
  const vertex = mean >= (weights.length - 1) / 2 ? 0 : weights.length - 1;
  return weights.map((_, k) => (k === vertex ? 1 : 0));
}

/** Candidates of a sentence, best first. @type {(...of: RankParts) => Generator<void, RankedCandidate[]>} */
function* rank(model, { words, locked, known, read }, weights, width) {
  const { vocabulary, rewriter } = model;
  if (!known) return [];
  const { ids, unknown } = vocabulary.encode(words, MOST_WORDS);
  read.memory ??= rewriter.encode(ids, weights);
  yield;
  const steps = Math.min(ids.length + LONGER, rewriter.sizes.places - 1);
  const beam = yield* rewriter.beam(read.memory, width, steps);
  /** @type {Map<string, { written: string[], nats: number }>} */
  const distinct = new Map();
  for (const { tokens, nats, finished } of beam) {
    const written = vocabulary.decode(tokens, unknown);
    const line = written.join(" ");
    if (finished && line && !distinct.has(line)) distinct.set(line, { written, nats });
  }
  distinct.delete(words.join(" "));
  const rows = [...distinct.values()].filter(({ written }) => stays(words, written, locked));
  let unlikely = rows.map(() => -Infinity);
  // The first answer is not kept waiting for the opposite's likelihood where a reader judges it.
  if (rows.length && !(width === 1 && model.reader)) {
    const targets = rows.map(({ written }) => vocabulary.target(written, unknown));
    read.against ??= rewriter.encode(ids, opposite(weights));
    unlikely = yield* rewriter.logLikelihoods(read.against, targets);
  }
  /** @type {RankedCandidate[]} */
  const candidates = [];
  for (const [i, { written, nats }] of rows.entries()) {
    candidates.push(scored(model, words, weights, written, nats, unlikely[i]));
    yield;
  }
  return candidates.sort(
    (a, b) => Number(a.reason !== "") - Number(b.reason !== "") || b.scores.total - a.scores.total,
  );
}

/** The k-th candidates of all sentences together. @type {(...of: TogetherParts) => TextRewrite[]} */
function together(source, sentences, count) {
  /** @type {(reason: string, scores?: RewriteScores) => TextRewrite} */
  const unchanged = (reason, scores = NONE) => ({ text: source, changed: [], removed: [], scores, reason });
  if (!sentences.some(({ candidates }) => candidates.length)) {
    if (sentences.some(({ known }) => known)) return [unchanged(TOO_BAD)];
    return [unchanged(`there is no word${sentences.length ? " that the model knows" : ""}`)];
  }
  /** @type {Map<string, TextRewrite>} */
  const rewrites = new Map();
  for (let k = 0; k < count; k++) {
    const chosen = sentences.map(({ candidates: row }) => row[Math.min(k, row.length - 1)]);
    const good = chosen.filter((c) => c && !c.reason);
    const used = good.length ? good : chosen.filter((c) => c);
    const words = sentences.flatMap((sentence, i) =>
      used.includes(chosen[i]) ? chosen[i].words : sentence.words,
    );
    /** @type {RewriteScores} */
    const scores = { ...NONE };
    for (const { scores: each } of used) for (const part of PARTS) scores[part] += each[part] / used.length;
    const rewrite = { ...asTyped(source, words), scores, reason: good.length ? "" : used[0].reason };
    if (!rewrites.has(rewrite.text)) rewrites.set(rewrite.text, rewrite);
  }
  const [first, ...rest] = rewrites.values();
  if ([first, ...rest].some(({ reason }) => !reason)) return [first, ...rest];
  return [unchanged(first.reason, first.scores), first, ...rest].slice(0, count);
}

/** As dgm.steering.CaptionModel. @type {(bank: ClauseBank, ...of: CaptionParts) => RewrittenText} */
function captioned(bank, text, weights, count) {
  const words = tokenise(text, true);
  const rows = bank.written(words.length ? splitSentences(words, LONGEST) : [], weights, count);
  const candidates = rows.map(({ words: written, score }) => ({
    words: written,
    scores: { ...NONE, agreement: score, total: score },
    reason: "",
  }));
  const rewrites = candidates.map((row) => ({ ...asTyped(text, row.words), scores: row.scores, reason: "" }));
  const distinct = [...new Map(rewrites.map((rewrite) => [rewrite.text, rewrite])).values()];
  const none = { text, changed: [], removed: [], scores: NONE, reason: "there is no word" };
  return { rewrites: rows.length ? distinct : [none], sentences: [{ words, candidates }] };
}

/** A text's sentences, with what stays. @type {(...of: SentenceParts) => SentenceWithCandidates[]} */
function sentencesOf({ vocabulary }, text, locked) {
  const isKnown = (/** @type {string} */ word) => vocabulary.id(word) !== UNKNOWN;
  const words = tokenise(text, true);
  const stay = [...locked.flatMap((word) => tokenise(word, true)), ...namesIn(text, isKnown)];
  return (words.length ? splitSentences(words, MOST_WORDS) : []).map((piece) => ({
    words: piece,
    locked: piece.filter((word) => stay.includes(word)),
    known: piece.some((word) => isKnown(word) && /^\p{L}+$/u.test(word)),
    read: {},
    candidates: [],
  }));
}

/** @type {(text: string, sentences: SentenceWithCandidates[], count: number) => RewrittenText} */
const rewritten = (text, sentences, count) => ({
  rewrites: together(text, sentences, count),
  sentences: sentences.map(({ words, candidates }) => ({ words, candidates })),
});

/**
 * At most `count` rewrites of a text, best first, a step at a time, and each sentence's candidates; onFirst
 * is early given what greedy decoding writes. @type {(...of: RewriteParts) => Generator<void, RewrittenText>}
 */
export function* rewriting(model, text, weights, { locked = [], count = 5, onFirst } = {}) {
  const sum = weights.reduce((a, b) => a + b, 0);
  const shares = weights.map((w) => w / sum);
  if (model.bank) return captioned(model.bank, text, shares, count);
  const sentences = sentencesOf(model, text, locked);
  for (const width of onFirst ? [1, WIDTH] : [WIDTH]) {
    for (const sentence of sentences) sentence.candidates = yield* rank(model, sentence, shares, width);
    if (width === 1) onFirst?.(together(text, sentences, 1)[0]);
  }
  return rewritten(text, sentences, count);
}

/**
 * A text's rewrites at each vertex, the first of each as dgm.slider has it: along them no sentence says less.
 * @type {(...of: AlongParts) => Generator<void, RewrittenText[]>}
 */
export function* rewritingAlong(model, text, { locked = [], count = 5 } = {}) {
  const { vertices, vocabulary, reader } = model;
  /** @type {SentenceWithCandidates[][]} */
  const along = [];
  for (const sentence of sentencesOf(model, text, locked)) {
    const rows = [];
    for (const vertex of vertices) {
      const weights = vertices.map((other) => Number(other === vertex));
      rows.push(yield* rank(model, { ...sentence, read: {} }, weights, WIDTH));
    }
    const readOf = (/** @type {string[]} */ words) => reader?.value(vocabulary.encode(words).ids) ?? 0;
    const path = risingPath(rows, sentence.words, readOf);
    along.push(
      rows.map((row, k) => {
        const first = path[k];
        const rest = row.filter((candidate) => candidate !== first && (first || candidate.reason));
        return { ...sentence, candidates: first ? [first, ...rest] : rest };
      }),
    );
    yield;
  }
  return vertices.map((_, k) =>
    rewritten(
      text,
      along.map((rows) => rows[k]),
      count,
    ),
  );
}

/** Of what dgm_book.widgets.rewriter_weights packs. @type {(packed: PackedRewriter) => RewritingModel} */
export function rewritingModel({ header, data }) {
  const { tensors, words, vertices, sizes, reader, score_weights, least_nats } = header;
  const buffer = bufferOf(data);
  const bank = header.bank && clauseBank(JSON.parse(new TextDecoder().decode(buffer)));
  if (bank) return /** @type {any} */ ({ vertices, bank });
  /** @type {(owner: string) => [Arrays, Tensors]} */
  const partOf = (owner) => {
    const own = Object.entries(tensors).filter(([name]) => name.startsWith(owner));
    const renamed = own.map(([name, tensor]) => /** @type {const} */ ([name.slice(owner.length), tensor]));
    return [
      Object.fromEntries(renamed.map(([name, tensor]) => [name, unpackTensor(buffer, tensor)])),
      Object.fromEntries(renamed),
    ];
  };
  return {
    vertices,
    vocabulary: vocabularyOf(words.split(" ")),
    rewriter: new Rewriter(...partOf("rewriter."), sizes, FIRST_WORD),
    reader: reader && gradedReader(...partOf("reader."), reader),
    content: unpackTensor(buffer, tensors.content),
    scoreWeights: score_weights,
    leastNats: least_nats ?? -Infinity,
    leastAgreement: header.least_agreement ?? LEAST_AGREEMENT,
  };
}

/**
 * What a worker does: a request with a header and data brings the model; one with a text, an id and weights
 * is answered with { id, first }, then { id, ranked }, and, where it asks for that, { id, along },
 * the same at each vertex. A newer one ends an older, but for its first rewrite once that is begun, so that a
 * drag shows it.
 * @returns {import("../worker.js").Work}
 */
export function rewritingHost() {
  /** @type {RewritingModel | null} */
  let model = null;
  let newest = 0;
  /** @type {(mine: number, request: any, tell: (message: any) => void) => Iterator<void>} */
  function* answer(mine, request, tell) {
    if (request.header) model = rewritingModel(request);
    if (request.header || !model || mine !== newest) return;
    const { id, text, weights, locked, count, along } = request;
    let begun = true;
    const onFirst = (/** @type {TextRewrite} */ first) => {
      tell({ id, first });
      begun = false;
    };
    /** @type {(name: string, steps: Iterator<void, any>) => Generator<void, void>} */
    function* through(name, steps) {
      while (begun || mine === newest) {
        const { done, value } = steps.next();
        if (done) return tell({ id, [name]: value });
        yield;
      }
    }
    yield* through("ranked", rewriting(model, text, weights, { locked, count, onFirst }));
    if (along) yield* through("along", rewritingAlong(model, text, { locked, count }));
  }

  return (request, tell) => answer(request.header ? newest : ++newest, request, tell);
}
