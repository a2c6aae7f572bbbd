// Models and exact Bayes that follow the switching system; the last steps are remembered.

import { exactBayes, follower, inForce, switchingSystem } from "./switching.js";

/** @type {(nets: HyperNet[], options: SwitchOptions) => SwitchCourse} */
export function makeCourse(nets, { matrices, deviations, n_particles: N, window: span, hazard, bound }) {
  const followers = nets.map((net) => follower(net, N));
  let system = switchingSystem(matrices, bound, 0);
  let oracle = exactBayes(matrices, deviations, hazard);
  /** What the past steps hang on: another past means to begin again. @type {string | null} */
  let key = null;
  /** @type {SwitchCourse} */
  const me = { history: [], done: 0, advance, forget };

  /** @type {(seed: number, schedule: Schedule) => string} */
  const keyOf = (seed, schedule) => `${seed} ${JSON.stringify(schedule.filter(([t]) => t < me.done))}`;

  function begin(/** @type {number} */ seed) {
    system = switchingSystem(matrices, bound, seed);
    oracle = exactBayes(matrices, deviations, hazard);
    me.history = [];
    me.done = 0;
  }

  function step(/** @type {number} */ seed, /** @type {Schedule} */ schedule) {
    const t = me.done;
    const { which, sigma, changed } = inForce(schedule, t);
    system.step(t, which, sigma);
    const { x, before, fresh } = system;
    oracle.step(before, x, fresh);
    const said = followers.map(({ filter, read }) => {
      read(seed, t, x, fresh);
      const { mean, deviation, meanKL: kl, increment } = filter;
      return { mean: mean.slice(), deviation: deviation.slice(), kl, increment };
    });
    const { posterior, increment: exact } = oracle;
    me.history.push({
      t,
      which,
      sigma,
      changed,
      fresh,
      x: x.slice(),
      posterior: posterior.slice(),
      exact,
      said,
    });
    if (me.history.length > span) me.history.shift();
    me.done += 1;
  }

  /** @type {SwitchCourse["advance"]} */
  function advance(seed, steps, schedule, budget) {
    if (key === null || steps < me.done || key !== keyOf(seed, schedule)) begin(seed);
    const start = performance.now();
    let moved = false;
    while (me.done < steps && (!moved || performance.now() - start < budget)) {
      step(seed, schedule);
      moved = true;
    }
    key = keyOf(seed, schedule);
    return me.done < steps;
  }

  function forget() {
    key = null;
  }
  return me;
}
