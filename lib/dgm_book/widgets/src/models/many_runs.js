// Means of many runs of particles, made a slice at a time and kept.

import { filterRun, makeCloud } from "./linear_gaussian.js";

export const RUNS = 400; // behind each mean
export const SIZES = [1, 2, 4, 8, 16, 32, 64];
export const FIRST_RUN = 10000; // of them, after all that a seed may show
const SLICE_MS = 4; // of them at a time, between frames

// The many runs, which are kept.
export function makeRuns(/** @type {System} */ system, /** @type {string[]} */ criteria) {
  /** @type {Map<string, RunTally>} */
  const tallies = new Map();
  /** @type {Map<string, Cloud>} */
  const clouds = new Map();
  // At one particle there is nothing to choose from.
  /** @type {(data: ParticleData, N: number, criterion: string) => RunTally} */
  const tallyOf = ({ name }, N, criterion) => {
    const key = [name, N, N === 1 ? "never" : criterion].join();
    const tally = tallies.get(key) ?? { n: 0, mean: 0, squares: 0 };
    tallies.set(key, tally);
    return tally;
  };
  const cloudOf = (/** @type {number} */ T, /** @type {number} */ N) => {
    const cloud = clouds.get(`${T} ${N}`) ?? makeCloud(T, N);
    clouds.set(`${T} ${N}`, cloud);
    return cloud;
  };
  // Of what is shown, what still lacks runs.
  const unfinished = (/** @type {ParticleData} */ data, /** @type {number} */ N) =>
    [1, N, ...SIZES]
      .flatMap((size) =>
        criteria.map((criterion) => ({ N: size, criterion, tally: tallyOf(data, size, criterion) })),
      )
      .filter(({ tally }) => tally.n < RUNS);
  return {
    done: (data, N) => !unfinished(data, N).length,
    slice(data, N) {
      const start = performance.now();
      const left = unfinished(data, N);
      for (const { N: size, criterion, tally } of left) {
        const cloud = cloudOf(data.x.length, size);
        while (tally.n < RUNS && performance.now() - start < SLICE_MS) {
          const off = filterRun(system, data.x, criterion, FIRST_RUN + tally.n, cloud) - tally.mean;
          tally.n += 1;
          tally.mean += off / tally.n;
          tally.squares += (off * off * (tally.n - 1)) / tally.n;
        }
      }
      return left.every(({ tally }) => tally.n === RUNS);
    },
    means(data, N, criterion) {
      const { n, mean, squares } = tallyOf(data, N, criterion);
      return n ? { mean, error: Math.sqrt(squares / Math.max(1, n - 1) / n) } : null;
    },
  };
}
/**
 * @typedef {{ done(data: ParticleData, N: number): boolean, slice(data: ParticleData, N: number): boolean,
 *   means(data: ParticleData, N: number, criterion: string): MeanError | null }} Runs
 */
