// Means of many runs of particles, computed a slice at a time and remembered.

import { filterRun, makeCloud } from "./linear_gaussian.js";

export const RUNS = 400; // behind each mean
export const SIZES = [1, 2, 4, 8, 16, 32, 64];
export const FIRST_RUN = 10000; // of them, after all that a seed may show
const SLICE_MS = 4; // of them at a time, between frames

/** @type {(system: System, criteria: string[]) => Runs} */
export function makeRuns(system, criteria) {
  /** @type {Map<string, RunTally>} */
  const tallies = new Map();
  // At one particle there is nothing to choose from.
  /** @type {(data: ParticleData, N: number, criterion: string) => RunTally} */
  const tallyOf = ({ name }, N, criterion) => {
    const key = [name, N, N === 1 ? "never" : criterion].join();
    const tally = tallies.get(key) ?? { N, criterion, n: 0, mean: 0, squares: 0 };
    tallies.set(key, tally);
    return tally;
  };
  /** Of what is shown, what still lacks runs. @type {(data: ParticleData, N: number) => RunTally[]} */
  const unfinished = (data, N) =>
    [1, N, ...SIZES]
      .flatMap((size) => criteria.map((criterion) => tallyOf(data, size, criterion)))
      .filter(({ n }) => n < RUNS);
  return {
    done: (data, N) => !unfinished(data, N).length,
    slice(data, N) {
      const start = performance.now();
      const rest = unfinished(data, N);
      for (const tally of rest) {
        const cloud = makeCloud(data.x.length, tally.N);
        while (tally.n < RUNS && performance.now() - start < SLICE_MS) {
          const run = FIRST_RUN + tally.n;
          const off = filterRun(system, data.x, tally.criterion, run, cloud) - tally.mean;
          tally.n += 1;
          tally.mean += off / tally.n;
          tally.squares += (off * off * (tally.n - 1)) / tally.n;
        }
        if (tally.n < RUNS) return false;
      }
      return true;
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
