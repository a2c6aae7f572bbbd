import assert from "node:assert/strict";
import { test } from "node:test";
import {
  rewriting,
  rewritingAlong,
  rewritingHost,
  rewritingModel,
} from "../../lib/dgm_book/widgets/src/models/rewriting.js";
import { gelu } from "../../lib/dgm_book/widgets/src/models/transformer.js";
import { finish, golden, near, weightsOf } from "./golden.js";

const packedOf = (vectors) => ({ header: vectors.header, data: weightsOf(vectors).get("data") });
const PARTS = ["likelihood", "contrast", "agreement", "leftOut", "added", "repeated", "total"];
const small = golden.rewriting_small.map((vectors) => ({
  ...vectors,
  model: rewritingModel(packedOf(vectors)),
}));

/** Keys or values (L, heads, S, size) as the page has them: layers of rows of keys, then values. */
function memoryRows(keys, values) {
  return keys.map((layer, l) =>
    layer[0].flatMap((_, s) => [keys, values].flatMap((part) => part[l].flatMap((head) => head[s]))),
  );
}

function sameBeams({ rewriter }, memory, beams) {
  for (const { width, steps, written } of beams) {
    const got = finish(rewriter.beam(memory, width, steps));
    assert.deepEqual(
      got.map(({ tokens, finished }) => ({ tokens, finished })),
      written.map(({ tokens, finished }) => ({ tokens, finished })),
    );
    near(
      got.map(({ nats }) => nats),
      written.map(({ nats }) => nats),
      { absolute: 1e-3 },
    );
  }
}

function sameRewrites(model, { typed, weights, locked = [], count = 5, rewrites }) {
  const got = finish(rewriting(model, typed, weights, { locked, count })).rewrites;
  const spans = ({ text, changed, removed, reason }) => ({
    text,
    reason,
    changed: changed.map(([a, b]) => text.slice(a, b)),
    removed: removed.map(([a, b]) => typed.slice(a, b)),
  });
  assert.deepEqual(
    got.map(spans),
    rewrites.map(({ scores: _, ...rest }) => rest),
  );
  for (const [i, { scores }] of got.entries())
    near(
      PARTS.map((part) => scores[part]),
      rewrites[i].scores,
      { absolute: 1e-3 },
    );
}

function sameAlong(model, { typed, locked = [], along }) {
  const got = finish(rewritingAlong(model, typed, { locked }));
  assert.deepEqual(
    got.map(({ rewrites }) => rewrites[0].text),
    along,
  );
}

/** Equation (1): log-probabilities of all next tokens. */
function nextTokens(rewriter, row, progress) {
  const [{ logits, total, pointed, gate }] = rewriter.mixtures([row], progress);
  const copied = 1 / (1 + Math.exp(-gate));
  const p = Float64Array.from(logits, (x) => (1 - copied) * Math.exp(x - total));
  for (const [s, id] of progress.memory.source.entries()) p[id] += copied * pointed[s];
  return p.map((x) => Math.log(Math.min(1, Math.max(1e-9, x))));
}

test("the normal distribution's table is as good as single precision", () => {
  // erf by its series
  const exact = (x) => {
    let [term, sum] = [x, x];
    for (let n = 1; n < 200; n++) {
      term *= (-x * x) / (2 * n);
      sum += term / (2 * n + 1);
    }
    return x * (0.5 + sum / Math.sqrt(2 * Math.PI));
  };
  for (let x = -5.9; x < 5.9; x += 0.0137) near(gelu(x), exact(x), { absolute: 1e-8 });
  assert.deepEqual([gelu(-50), gelu(50), gelu(0)], [0, 50, 0]);
});

test("a small rewriter reads, points and writes as PyTorch does", () => {
  for (const { model, decoded } of small) {
    const { rewriter, reader } = model;
    for (const { source, weights, pointer, keys, values, steps, target, nats, beams, value } of decoded) {
      const memory = rewriter.encode(source, weights);
      near(memory.pointer, pointer.flat(), { absolute: 1e-4 });
      const rows = memoryRows(keys, values);
      for (const [l, layer] of memory.layers.entries()) near(layer, rows[l], { absolute: 1e-4 });
      const progress = rewriter.start(memory, steps.length);
      const row = { tokens: [], path: [] };
      for (const { token, log_p } of steps) {
        row.tokens.push(token);
        near(nextTokens(rewriter, row, progress), log_p, { absolute: 1e-3 });
      }
      const total = nats[0].reduce((a, b) => a + b);
      // Targets that begin alike share their rows: each has the likelihood that it has alone.
      const other = [...target.slice(0, 3), ...target.slice(1)];
      const [alone] = finish(rewriter.logLikelihoods(memory, [other]));
      const together = finish(rewriter.logLikelihoods(memory, [target, other, target]));
      near(together, [total, alone, total], { absolute: 1e-3 });
      sameBeams(model, memory, beams);
      if (reader) near(reader.value(source), value[0], { absolute: 1e-4 });
      assert.equal(reader === null, value === undefined);
    }
  }
});

test("texts are rewritten, scored, ranked and shown as the library does", () => {
  for (const { model, texts } of small) for (const text of texts) sameRewrites(model, text);
  for (const { model, along } of small) for (const text of along) sameAlong(model, text);
});

test("clauses for captions are those that the library retrieves", () => {
  const { texts, ...packed } = golden.captions_published;
  const model = rewritingModel(packedOf(packed));
  assert.ok(texts.length > 100);
  for (const text of texts) sameRewrites(model, text);
});

test("the published rewriter writes 100 sentences as PyTorch does, token for token", () => {
  const { texts, along, ...packed } = golden.rewriting_published;
  const model = rewritingModel(packedOf(packed));
  assert.equal(texts.length, 100);
  let single = 0;
  for (const text of texts) {
    if (text.beams) sameBeams(model, model.rewriter.encode(text.source, text.weights), text.beams);
    sameRewrites(model, text);
    single += text.beams ? 1 : 0;
  }
  assert.ok(single > 90);
  for (const text of along) sameAlong(model, text);
});

test("the first answer comes before the others, and a newer request ends an older one", () => {
  const [vectors] = golden.rewriting_small;
  const { typed, weights, rewrites } = vectors.texts[4];
  const told = [];
  const work = rewritingHost();
  const tell = (message) => told.push(message);
  finish(work(packedOf(vectors), tell));
  const older = work({ id: 1, text: typed, weights }, tell);
  older.next();
  const skipped = work({ id: 2, text: typed, weights }, tell);
  const newest = work({ id: 3, text: typed, weights, count: 2, along: true }, tell);
  for (const job of [older, skipped, newest]) finish(job);
  assert.deepEqual(
    told.map(({ id, first }) => [id, first !== undefined]),
    [
      [1, true],
      [3, true],
      [3, false],
      [3, false],
    ],
  );
  const [, , { ranked }, { along }] = told;
  assert.equal(ranked.rewrites[0].text, rewrites[0].text);
  assert.deepEqual(ranked.sentences[0].words, typed.toLowerCase().split(" "));
  assert.equal(along.length, weights.length);
  for (const { rewrites } of [ranked, ...along]) assert.ok(rewrites.length <= 2);
});
