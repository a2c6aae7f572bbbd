import assert from "node:assert/strict";
import { test } from "node:test";
import { makeDecoder, makeDice, simulate, work } from "../../lib/dgm_book/widgets/src/models/annealing.js";
import { finish, golden, inErrors, near } from "./golden.js";

const { betas, linear, network } = golden.curves;

const floats = (layers) =>
  layers.map((layer) => ({
    ...layer,
    weight: Float32Array.from(layer.weight),
    bias: Float32Array.from(layer.bias),
  }));

function anneal({ layers, x }, seed, settings = {}) {
  const messages = [];
  const request = { temperatures: 200, chains: 16, leapfrogs: 5, betas, ...settings };
  finish(
    work({ layers: floats(layers), x: Float64Array.from(x), seed, ...request }, (m) => messages.push(m)),
  );
  const { check } = messages.find((message) => message.check);
  return { points: messages.filter((message) => message.index !== undefined), check };
}

const column = (runs, name) => runs.map((run) => run.points.map((point) => point[name]));

for (const { layers, x, z, image, energy, gradient } of golden.gradients) {
  test(`the gradient of ${layers.map((l) => l.activation)} is PyTorch's`, () => {
    const decoder = makeDecoder(floats(layers));
    const state = { z: Float64Array.from(z), energy: 0, gradient: new Float64Array(z.length) };
    decoder.evaluate(Float64Array.from(x), state);
    near(decoder.forward(z), image, { absolute: 1e-5 });
    near(state.energy, energy, { relative: 1e-5 });
    near(state.gradient, gradient, { ofLargest: 1e-5 });
  });
}

test("the curve of a linear decoder is the closed form", () => {
  const runs = Array.from({ length: 32 }, (_, seed) => anneal(linear, seed));
  const logZ = column(runs, "logZ");
  // The mean of w itself is unbiased: log Z is below, by less than its variance.
  const weights = logZ.map((row) => row.map((v, r) => Math.exp(v - linear.log_z[r])));
  const parts = [
    inErrors(
      weights,
      betas.map(() => 1),
    ),
    inErrors(column(runs, "distortion"), linear.distortion),
    inErrors(column(runs, "rate"), linear.rate),
  ];
  for (const { z } of parts.flat()) assert.ok(Math.abs(z) < 4, `${z} standard errors`);
  for (const { error } of inErrors(logZ, linear.log_z)) assert.ok(error * Math.sqrt(32) < 0.25);
  for (const { points } of runs) {
    for (const { beta, rate, distortion, logZ: z, acceptance, ess } of points) {
      near(rate + beta * distortion + z, 0, { absolute: 1e-9 });
      assert.ok(acceptance > 0.4 && ess > 5);
    }
  }
  assert.deepEqual(column(runs, "beta")[0], betas);
});

test("the bounds of the model's own image hold its log Z", () => {
  const { layers, bias, precision, constant } = linear;
  const beta = betas.at(-1);
  const seeds = Array.from({ length: 48 }, (_, seed) => seed);
  const exact = seeds.map((seed) => {
    const { x } = simulate(makeDecoder(floats(layers)), beta, makeDice(8 * seed + 2));
    const apart = x.map((v, i) => v - bias[i]);
    const far = precision.map((row, i) => apart[i] * row.reduce((sum, v, j) => sum + v * apart[j], 0));
    return constant - far.reduce((a, b) => a + b) / 2;
  });
  const zero = { layers, x: Array(12).fill(0) };
  for (const temperatures of [12, 200]) {
    const checks = seeds.map((seed) => anneal(zero, seed, { temperatures }).check);
    const off = checks.map(({ lower, upper }, s) => [lower - exact[s], upper - exact[s]]);
    const [below, above] = inErrors(off, [0, 0]);
    assert.ok(below.z < 4 && above.z > -4);
    const gap = above.mean - below.mean;
    if (temperatures === 12) {
      assert.ok(gap > 0.1);
      continue;
    }
    assert.ok(Math.abs(gap) < 0.1);
    const weights = off.map(([a, b]) => [Math.exp(a), Math.exp(-b)]);
    for (const { z } of inErrors(weights, [1, 1])) assert.ok(Math.abs(z) < 4);
    // With many temperatures the bounds miss by what the chains' scatter says.
    const ratios = off.map(([a, b], s) => (Math.hypot(a, b) / checks[s].error) ** 2);
    const typical = Math.sqrt(ratios.reduce((a, b) => a + b) / ratios.length);
    assert.ok(typical > 0.6 && typical < 1.5, `${typical}`);
  }
});

test("a network's curve is the library's", () => {
  const runs = Array.from({ length: 16 }, (_, seed) => anneal(network, seed));
  for (const [name, { mean, error }] of [
    ["logZ", network.log_z],
    ["distortion", network.distortion],
  ]) {
    for (const [r, own] of inErrors(column(runs, name), mean).entries()) {
      assert.ok(Math.abs(own.mean) < 4 * Math.hypot(own.error, error[r]), `${name} ${r}`);
    }
  }
});

test("one seed is one run, and another is another", () => {
  const [first, repeated, other] = [3, 3, 4].map((seed) => anneal(linear, seed, { temperatures: 30 }));
  assert.deepEqual(first, repeated);
  assert.notDeepEqual(first.check, other.check);
  assert.notEqual(first.points.at(-1).logZ, other.points.at(-1).logZ);
});
