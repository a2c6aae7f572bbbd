import assert from "node:assert/strict";
import { test } from "node:test";
import { boundsOf, criticScores, normalsOf } from "../../lib/dgm_book/widgets/src/models/bounds.js";
import { mixed, rateAt } from "../../lib/dgm_book/widgets/src/models/damage.js";
import { inked } from "../../lib/dgm_book/widgets/src/models/drawing.js";
import { unpackHyper } from "../../lib/dgm_book/widgets/src/models/hyper_weights.js";
import { wordsOf } from "../../lib/dgm_book/widgets/src/models/language_model.js";
import {
  filterRun,
  kalman,
  makeCloud,
  survivors,
} from "../../lib/dgm_book/widgets/src/models/linear_gaussian.js";
import { lottery } from "../../lib/dgm_book/widgets/src/models/lottery.js";
import { decode, unpackWeights } from "../../lib/dgm_book/widgets/src/models/nn.js";
import { dispersionOf, softPool } from "../../lib/dgm_book/widgets/src/models/pooling_model.js";
import { informationAtLeast, wilson } from "../../lib/dgm_book/widgets/src/models/shares.js";
import { tokenise } from "../../lib/dgm_book/widgets/src/models/tokens.js";
import { golden, near, weightsOf } from "./golden.js";

const doubles = (values) => Float64Array.from(values.flat());

test("a packed network decodes as PyTorch does", () => {
  const { vae2 } = unpackWeights(weightsOf(golden.networks));
  assert.ok(vae2.error < 1e-6);
  for (const [i, z] of golden.networks.z.entries()) {
    near(decode(vae2.layers, Float32Array.from(z)), golden.networks.x[i], { absolute: 1e-6 });
  }
});

test("recurrent networks filter as PyTorch does, and a wrong golden number shows", () => {
  const { names, goldenError } = unpackHyper(weightsOf(golden.recurrent));
  assert.deepEqual(names, ["VHRNN", "VRNN"]);
  for (const name of names) assert.ok(goldenError(name) < 1e-5);
  const bytes = Buffer.from(golden.recurrent.data, "base64");
  const { kl } = golden.recurrent.header.models[1].golden;
  bytes.writeFloatLE(bytes.readFloatLE(kl.start + 4 * 38) + 1, kl.start + 4 * 38);
  const wrong = unpackHyper(weightsOf({ ...golden.recurrent, data: bytes.toString("base64") }));
  assert.ok(wrong.goldenError("VRNN") > 1e-2 && wrong.goldenError("VHRNN") < 1e-5);
});

test("the Kalman filter is the library's", () => {
  const { system, sequences, exact } = golden.particles;
  for (const [name, x] of Object.entries(sequences)) {
    const { logLikelihood, mean, deviation } = kalman(system, x);
    near(logLikelihood, exact[name], { relative: 1e-12 });
    assert.deepEqual([mean.length, deviation.length], [x.length, x.length]);
  }
  near(exact.five, -6.1186483, { absolute: 5e-10 });
});

test("particles are Python's", () => {
  const { system, sequences, runs } = golden.particles;
  for (const { sequence, n, criterion, run, estimate, ...arrays } of runs) {
    const cloud = makeCloud(sequences[sequence].length, n);
    const result = filterRun(system, sequences[sequence], criterion, run, cloud);
    near(result, estimate, { relative: 1e-11 });
    for (const [name, expected] of Object.entries(arrays)) {
      const got = name === "survivors" ? survivors(cloud) : cloud[name];
      near(got, expected.flat().map(Number), { relative: 1e-9, absolute: 1e-12 });
    }
  }
});

test("the mixture of two priors is the chapter's, and costs no more than its cap", () => {
  const { beta, cases, ...terms } = golden.damage;
  const [narrowZ, narrowD, wideZ, wideD] = [
    "narrow_log_z",
    "narrow_distortion",
    "wide_log_z",
    "wide_distortion",
  ].map((name) => Float32Array.from(terms[name].flat(2)));
  const curves = { beta, images: terms.narrow_log_z[0][0].length, narrowZ, narrowD, wideZ, wideD };
  for (const { alpha, blur, log_z, distortion, rate } of cases) {
    const [got, sound] = [mixed(curves, blur, alpha), mixed(curves, blur, 0)];
    near(got.logZ, log_z, { relative: 1e-9 });
    near(got.distortion, distortion, { relative: 1e-9 });
    near(got.rate, rate, { relative: 1e-6, absolute: 1e-6 });
    const cap = -Math.log1p(-alpha) + 1e-9;
    for (const [r, d] of sound.distortion.entries()) {
      assert.ok(sound.logZ[r] - got.logZ[r] <= cap);
      const more = rateAt(got, beta, d) - sound.rate[r];
      assert.ok(more <= cap && (alpha > 0 || Math.abs(more) < 0.02));
    }
  }
});

test("four bounds, the lottery's weights and what a share tells are the library's", () => {
  for (const { number, rho, d, n, scores, bounds } of golden.bounds) {
    const got = new Float64Array(n * n);
    criticScores(normalsOf(number), { rho, d, n }, got);
    near(got, scores.flat(), { relative: 1e-9, absolute: 1e-9 });
    near(boundsOf(got, n), bounds, { relative: 1e-8, absolute: 1e-9 });
  }
  for (const { scores, p, temperature, weight, share } of golden.lotteries) {
    const got = lottery(scores, p, temperature);
    near(got.weight, weight, { relative: 1e-6, absolute: 1e-15 });
    near(got.share, share, { relative: 1e-6, absolute: 1e-15 });
  }
  for (const [right, n, low, high] of golden.shares.wilson)
    near(wilson(right, n), [low, high], { absolute: 1e-12 });
  for (const [share, nats] of golden.shares.information)
    near(informationAtLeast(share), nats, { absolute: 1e-12 });
});

test("pooling between mean and maximum, its gradient, and dispersion are PyTorch's", () => {
  const { h, soft, dispersion } = golden.pools;
  const [H, n] = [h[0].length, h.length];
  for (const { tau, s, share } of soft) {
    const [pooled, shares] = [new Float64Array(H), new Float64Array(n)];
    softPool(doubles(h), H, tau < 0 ? Infinity : tau, pooled, shares);
    near(pooled, s, { absolute: 1e-12 });
    near(shares, share, { absolute: 1e-12 });
  }
  for (const [name, value] of Object.entries(dispersionOf(doubles(h), H))) {
    near(value, dispersion[name], { relative: 1e-9 });
  }
});

test("what readers type becomes the words of Python", () => {
  assert.ok(golden.sentences.length > 10);
  for (const [typed, tokens, words] of golden.sentences) {
    assert.deepEqual(tokenise(typed), tokens);
    assert.deepEqual(wordsOf(typed), words);
  }
});

const SIDE = 28;
const total = (image) => image.reduce((a, b) => a + b);

for (const [name, strokes] of Object.entries(golden.hand_drawn)) {
  test(`the drawing ${name} becomes an image like MNIST's`, () => {
    const image = inked(strokes, SIDE, SIDE);
    assert.deepEqual([Math.min(...image), Math.max(...image)], [0, 1]);
    const places = [(i) => Math.floor(i / SIDE), (i) => i % SIDE];
    for (const place of places)
      near(total(image.map((v, i) => v * (place(i) + 0.5))) / total(image), 14, { absolute: 0.1 });
    const spans = places.map((place) => {
      const inside = [...image.keys()].filter((i) => image[i] > 0.2).map(place);
      return Math.max(...inside) - Math.min(...inside) + 1;
    });
    assert.ok([19, 20, 21].includes(Math.max(...spans)), `${spans}`);
    near(
      image.map((v) => 255 * v),
      image.map((v) => Math.round(255 * v)),
      { absolute: 1e-9 },
    );
    // Larger, smaller and elsewhere it is the same drawing.
    const shifted = strokes.map((stroke) => stroke.map((v, i) => 0.4 * v + (i % 2 ? 0.1 : 0.5)));
    near(inked(shifted, SIDE, SIDE), image, { absolute: 1.5 / 255 });
  });
}

test("a dot stays a dot and a line keeps its width", () => {
  const dot = inked([[0.2, 0.9]], SIDE, SIDE);
  near(total(dot), Math.PI * 1.15 ** 2, { relative: 0.15 });
  const line = inked([[0.1, 0.5, 0.9, 0.5]], SIDE, SIDE);
  near(total(Array.from({ length: SIDE }, (_, r) => line[SIDE * r + 14])), 2.3, { absolute: 0.1 });
  near(total(line.slice(14 * SIDE, 15 * SIDE)), 20, { absolute: 0.8 });
});
