// Images as files of a few bytes, by ordered random coding, as in dgm/coding.py with candidates of its own.

import { makeDecoder, makeDice } from "./annealing.js";
import { fillNormals } from "./draws.js";

export const CANDIDATES = 32768;
const RICE = 3; // bits of the index's length that are written plainly, the rest in unary
const STREAM = 7; // of the candidates, on both sides

/**
 * Candidate number n, from 1 on: for one seed the same wherever it is asked for.
 * @type {(seed: number, n: number, size: number) => Float64Array}
 */
export const candidate = (seed, n, size) =>
  fillNormals(new Float64Array(size + (size % 2)), seed, STREAM, n).subarray(0, size);

/**
 * A whole number from 1 on: its length in a Rice code, then its binary digits.
 * @type {(n: number) => Uint8Array}
 */
export function writeIndex(n) {
  const digits = n.toString(2).slice(1);
  const plain = (digits.length % 2 ** RICE).toString(2).padStart(RICE, "0");
  const bits = `${"1".repeat(digits.length >> RICE)}0${plain}${digits}`;
  const bytes = new Uint8Array(Math.ceil(bits.length / 8));
  for (let i = 0; i < bits.length; i++) if (bits[i] === "1") bytes[i >> 3] |= 128 >> (i & 7);
  return bytes;
}

/** The number that a file holds, or null for other bytes. @type {(bytes: Uint8Array) => number | null} */
export function readIndex(bytes) {
  const bits = Array.from(bytes, (byte) => byte.toString(2).padStart(8, "0")).join("");
  const unary = bits.indexOf("0");
  const length = unary * 2 ** RICE + Number.parseInt(bits.slice(unary + 1, unary + 1 + RICE), 2);
  const n = Number.parseInt(`1${bits.slice(unary + 1 + RICE, unary + 1 + RICE + length)}`, 2);
  const same = unary >= 0 && length < 32 && String(writeIndex(n)) === String(bytes);
  return same ? n : null;
}

/**
 * Chooses a sample of q_beta among the candidates: the least of S_n / w_n with S_1 < S_2 < ... sorted
 * exponential numbers and w_n = exp(-beta d(x, f(z_n))). Rate and distortion are q_beta's, in nats.
 * @type {(request: CodingRequest) => Generator<number, Sent>}
 */
export function* encode({ layers, x, beta, seed, count = CANDIDATES }) {
  const decoder = makeDecoder(layers);
  const dice = makeDice(seed);
  let [arrival, best, index, distortion] = [0, Infinity, 0, 0];
  let [most, weights, squares, moments] = [-Infinity, 0, 0, 0];
  for (let n = 1; n <= count; n++) {
    const image = decoder.forward(candidate(seed, n, decoder.inputs));
    let energy = 0;
    for (let i = 0; i < image.length; i++) energy += (image[i] - x[i]) ** 2;
    arrival -= Math.log(1 - dice.uniform()) / (count - n + 1);
    const score = Math.log(arrival) + beta * energy;
    if (score < best) [best, index, distortion] = [score, n, energy];
    // Sums of weights relative to the largest so far.
    const shrunk = Math.exp(most - Math.max(most, -beta * energy));
    most = Math.max(most, -beta * energy);
    const weight = Math.exp(-beta * energy - most);
    weights = weights * shrunk + weight;
    squares = squares * shrunk * shrunk + weight * weight;
    moments = moments * shrunk + weight * energy;
    if (n % 256 === 0) yield n / count;
  }
  const expected = moments / weights;
  const rate = Math.log(count) - Math.log(weights) - most - beta * expected;
  return { index, beta, rate, expected, distortion, ess: weights ** 2 / squares, count };
}

/** @type {(request: CodingRequest, report: (message: CodingMessage) => void) => Generator<void>} */
export function* work(request, report) {
  const job = encode(request);
  for (let step = job.next(); ; step = job.next()) {
    if (step.done) return report({ sent: step.value });
    report({ progress: step.value });
    yield;
  }
}

/**
 * The candidate that was chosen; rate and expected distortion of q_beta, distortion of what was sent.
 * @typedef {Record<"index" | "beta" | "rate" | "expected" | "distortion" | "ess" | "count", number>} Sent
 * @typedef {{ layers: Omit<Layer, "output">[], x: Floats, beta: number, seed: number, count?: number }}
 *   CodingRequest
 * @typedef {{ progress: number } | { sent: Sent }} CodingMessage
 */
