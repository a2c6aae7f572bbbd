// Models and exact Bayes that follow the switching system; the last steps are remembered.

import { exactBayes, follower, inForce, switchingSystem } from "./switching.js";

/** @type {(nets: HyperNet[], options: SwitchOptions) => SwitchCourse} */
export function makeCourse(nets, { matrices, deviations, n_particles: N, window: span, hazard, bound }) {
  const followers = nets.map((net) => follower(net, N));
  let system = switchingSystem(matrices, bound, 0);
  let oracle = exactBayes(matrices, deviations, hazard);
  /** What the past steps hang on: another past means to begin anew. @type {string | null} */
  let key = null;
  /** @type {(seed: number, schedule: Schedule) => string} */
  const keyOf = (seed, schedule) => `${seed} ${JSON.stringify(schedule.filter(([t]) => t < me.done))}`;

  function step(/** @type {number} */ seed, /** @type {Schedule} */ schedule) {
    const t = me.done++;
    const { which, sigma, changed } = inForce(schedule, t);
    system.step(t, which, sigma);
    const { x, before, fresh } = system;
    oracle.step(before, x, fresh);
    const models = followers.map(({ filter, read }) => {
      read(seed, t, x, fresh);
      const { mean, deviation, meanKL: kl, increment } = filter;
      return { mean: mean.slice(), deviation: deviation.slice(), kl, increment };
    });
    const { posterior, increment: exact } = oracle;
    const law = { t, which, sigma, changed, fresh };
    me.history.push({ ...law, x: x.slice(), posterior: posterior.slice(), exact, models });
    if (me.history.length > span) me.history.shift();
  }

  /** @type {SwitchCourse} */
  const me = {
    history: [],
    done: 0,
    advance(seed, steps, schedule, budget) {
      if (key === null || steps < me.done || key !== keyOf(seed, schedule)) {
        system = switchingSystem(matrices, bound, seed);
        oracle = exactBayes(matrices, deviations, hazard);
        Object.assign(me, { history: [], done: 0 });
      }
      const start = performance.now();
      if (me.done < steps) step(seed, schedule);
      while (me.done < steps && performance.now() - start < budget) step(seed, schedule);
      key = keyOf(seed, schedule);
      return me.done < steps;
    },
    forget() {
      key = null;
    },
  };
  return me;
}
