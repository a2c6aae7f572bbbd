// What PyTorch computed (tests/tools/golden_vectors.py), and how to compare with it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const path = process.env.GOLDEN ?? new URL("../../_build/golden.json", import.meta.url);
export const golden = JSON.parse(readFileSync(path, "utf-8"));

/** Each number within a share of its size, or of the largest, or absolutely. */
export function near(got, expected, { relative = 0, ofLargest = 0, absolute = 0 } = {}) {
  const [a, b] = [got, expected].map((v) => (typeof v === "number" ? [v] : Array.from(v).flat(Infinity)));
  assert.equal(a.length, b.length);
  const most = ofLargest && ofLargest * Math.max(...b.map(Math.abs));
  for (const [i, value] of a.entries()) {
    const far = Math.abs(value - b[i]);
    assert.ok(far <= Math.max(absolute, most, relative * Math.abs(b[i])), `${i}: ${value}, not ${b[i]}`);
  }
}

/** Weights as a page gets them. */
export function weightsOf({ header, data }) {
  const bytes = Uint8Array.from(Buffer.from(data, "base64"));
  const traits = { header, data: new DataView(bytes.buffer) };
  return { get: (name) => traits[name] };
}

export function finish(job) {
  for (;;) {
    const { done, value } = job.next();
    if (done) return value;
  }
}

/** Mean difference in standard errors, over the runs, of each column. */
export function inErrors(runs, expected) {
  return expected.map((value, j) => {
    const apart = runs.map((run) => run[j] - value);
    const mean = apart.reduce((a, b) => a + b) / apart.length;
    const variance = apart.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (apart.length - 1);
    return { mean, error: Math.sqrt(variance / apart.length), z: mean / Math.sqrt(variance / apart.length) };
  });
}
