// What a VHRNN generates along one sequence, and what is lost when it is frozen: one run for each freeze,
// kept; the unfrozen first, since its means are what the others freeze to.

import { follower, inForce, switchingSystem } from "./switching.js";

export const FREEZES = 20; // steps from nothing frozen to all

const meanOf = (/** @type {number[]} */ values) => values.reduce((sum, v) => sum + v, 0) / values.length;

/** @type {(net: HyperNet, options: WeatherOptions) => Weather} */
export function makeWeather(net, { matrices, schedule, n_particles: N, steps: T, bound }) {
  const { filter, read } = follower(net, N);
  const rows = 12 * net.sizes.h;
  /** @type {WeatherRun | null} */
  let under = null;
  /** @type {Weather} */
  const me = {
    seed: -1,
    rows,
    course: [],
    runs: [],
    means: new Float64Array(net.scales),
    fulls: [],
    begin,
    compute,
  };

  /** @type {Weather["begin"]} */
  function begin(seed) {
    const system = switchingSystem(matrices, bound, seed);
    me.course = Array.from({ length: T }, (_, t) => {
      const { which, sigma, changed } = inForce(schedule, t);
      system.step(t, which, sigma);
      return { x: system.x.slice(), which, sigma, changed, fresh: system.fresh };
    });
    Object.assign(me, { seed, runs: [], means: new Float64Array(net.scales) });
    under = null;
  }

  const emptyRun = (/** @type {number} */ place) => {
    const scales = new Float64Array(T * rows);
    return {
      place,
      t: 0,
      mean: [],
      deviation: [],
      increment: [],
      kl: [],
      nats: 0,
      meanKL: 0,
      inside: 0,
      scales,
    };
  };

  /** One step of a run; true when it was the last. @type {(run: WeatherRun) => boolean} */
  function stepOnce(run) {
    const { place, t } = run;
    const { x, fresh } = me.course[t];
    filter.freeze(place / FREEZES, me.means);
    read(me.seed, t, x, fresh);
    run.mean.push(filter.mean.slice());
    run.deviation.push(filter.deviation.slice());
    run.increment.push(filter.increment);
    run.kl.push(filter.meanKL);
    for (let n = 0; n < N; n++) {
      const weight = filter.weights[n];
      const at = n * net.scales;
      for (let i = 0; i < rows; i++) run.scales[t * rows + i] += weight * filter.scales[at + i];
      if (!place) for (let i = 0; i < net.scales; i++) me.means[i] += (weight * filter.scales[at + i]) / T;
    }
    run.t += 1;
    return run.t === T;
  }

  /** Whether there is more to compute, after a time of it. @type {Weather["compute"]} */
  function compute(first, budget) {
    const start = performance.now();
    // The unfrozen, then the reader's, then all others.
    const order = [0, first, ...Array.from({ length: FREEZES + 1 }, (_, i) => i)];
    while (performance.now() - start < budget) {
      const next = order.find((i) => !me.runs[i]);
      if (next === undefined) return false;
      if (!under || (under.place !== next && (next === 0 || next === first))) under = emptyRun(next);
      if (!stepOnce(under)) continue;
      me.runs[under.place] = finish(under);
      if (under.place === 0) me.fulls = [0, 1, 2].map((b) => fullOf(under ?? emptyRun(0), b));
      under = null;
    }
    return true;
  }

  // Two in a hundred numbers of a block lie beyond, where nothing is frozen.
  function fullOf(/** @type {WeatherRun} */ { scales }, /** @type {number} */ b) {
    const sizes = [];
    const block = rows / 3;
    for (let t = 0; t < T; t++) {
      for (let i = b * block; i < (b + 1) * block; i++)
        sizes.push(Math.abs(scales[t * rows + i] - me.means[i]));
    }
    sizes.sort((p, q) => p - q);
    return Math.max(1e-9, sizes[Math.floor(0.98 * sizes.length)]);
  }

  function finish(/** @type {WeatherRun} */ run) {
    const hits = me.course.flatMap(({ x }, t) =>
      [0, 1].filter((d) => Math.abs(x[d] - run.mean[t][d]) <= 2 * run.deviation[t][d]),
    );
    const inside = hits.length / (2 * T);
    return { ...run, nats: meanOf(run.increment), meanKL: meanOf(run.kl), inside };
  }
  return me;
}
