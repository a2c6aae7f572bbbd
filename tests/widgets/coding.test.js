import assert from "node:assert/strict";
import { test } from "node:test";
import { candidate, encode, readIndex, writeIndex } from "../../lib/dgm_book/widgets/src/models/coding.js";
import { finish, golden, inErrors } from "./golden.js";

test("files are those of the library, and other bytes are refused", () => {
  for (const [n, bytes] of golden.files) {
    assert.deepEqual([...writeIndex(n)], bytes);
    assert.equal(readIndex(Uint8Array.from(bytes)), n);
  }
  for (const bytes of [[], [255], [255, 255, 255, 255], [0, 0], [1]]) {
    assert.equal(readIndex(Uint8Array.from(bytes)), null);
  }
});

test("what is sent has the law of q_beta, and its rate is the closed form", () => {
  const [weight, beta, x] = [[1, 0.5], 2, [1.2, 0.1]];
  const layer = { rows: 2, columns: 1, activation: "linear" };
  const layers = [{ ...layer, weight: Float32Array.from(weight), bias: new Float32Array(2) }];
  const variance = 1 / (1 + 2 * beta * 1.25);
  const mean = 2 * beta * variance * (x[0] + 0.5 * x[1]);
  const rate = 0.5 * (variance + mean ** 2 - 1 - Math.log(variance));
  const rows = Array.from({ length: 400 }, (_, seed) => {
    const sent = finish(encode({ layers, x, beta, seed, count: 4096 }));
    const z = (candidate(seed, sent.index, 1)[0] - mean) / Math.sqrt(variance);
    assert.ok(sent.ess > 500 && sent.index <= 4096);
    assert.ok(Math.abs(sent.rate - rate) < 4 * Math.sqrt(2 / sent.ess), `${sent.rate}, not ${rate}`);
    return [z, z * z];
  });
  for (const { z } of inErrors(rows, [0, 1])) assert.ok(Math.abs(z) < 4, `${z} standard errors`);
});
