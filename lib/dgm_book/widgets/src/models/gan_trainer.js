// Two GANs that see the same numbers, one without BRE and one with it.

import * as gan from "./gan.js";
import { cells, patterns } from "./gan_cells.js";

const finite = (/** @type {number[] | Float64Array} */ values) => values.every(Number.isFinite);

/** One minus the mean cosine between the input gradients at two different points, (n, 2). */
function gradientSpread(/** @type {Float64Array} */ slopes) {
  const n = slopes.length / 2;
  let [x, y, count] = [0, 0, 0];
  for (let k = 0; k < n; k++) {
    const size = Math.hypot(slopes[2 * k], slopes[2 * k + 1]);
    if (!size) continue;
    x += slopes[2 * k] / size;
    y += slopes[2 * k + 1] / size;
    count++;
  }
  return 1 - (x * x + y * y - count) / (n * (n - 1));
}

/** Root of the total variance of points (n, 2). */
function extent(/** @type {Float64Array} */ points) {
  let [x, y, xx] = [0, 0, 0];
  const n = points.length / 2;
  for (let k = 0; k < n; k++) {
    x += points[2 * k] / n;
    y += points[2 * k + 1] / n;
  }
  for (let k = 0; k < n; k++) xx += ((points[2 * k] - x) ** 2 + (points[2 * k + 1] - y) ** 2) / n;
  return Math.sqrt(xx);
}

/** How often G of two points falls into each of 41 bins. */
function binsOf(/** @type {Doubles} */ G, /** @type {number} */ pairs) {
  const bins = new Uint32Array(41);
  for (let i = 0; i < pairs; i++) {
    for (let j = 0; j < i; j++) bins[Math.round(20 * (G[i * pairs + j] + 1))]++;
  }
  return bins;
}

// The corners of all cells one after the other, how many each has, and a number for its pattern.
/** @type {(list: GanCell[], layers: number[]) => Pick<GanPanel, "corners" | "lengths" | "paint">} */
function cellArrays(list, layers) {
  const paint = Uint32Array.from(list, ({ words }) => {
    let hash = 0x811c9dc5;
    for (const l of layers) {
      hash = Math.imul(hash ^ words[l], 0x9e3779b1);
      hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca77);
    }
    return (hash ^ (hash >>> 13)) >>> 0;
  });
  const lengths = Uint16Array.from(list, ({ points }) => points.length);
  const corners = new Float32Array(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (const { points } of list) {
    corners.set(points, at);
    at += points.length;
  }
  return { corners, lengths, paint };
}

/** @type {(config: GanConfig) => GanTrainer} */
export function ganTrainer({ centres, sigma, seed, width, batch, steps, limit, shown, arrows }) {
  const dice = gan.makeDice(seed);
  const nets = [gan.makeDiscriminator(width), gan.makeGenerator(width)].map((net) =>
    gan.initialise(net, dice),
  );
  /** @type {GanPlayer[]} */
  const players = [0, 1].map(() => {
    const [discriminator, generator] = nets.map((net) => ({ ...net, theta: net.theta.slice() }));
    const player = gan.makePlayer(discriminator, generator, batch);
    return { ...player, trace: [], stopped: "", good: { step: 0, theta: [] } };
  });
  const look = gan.makeDice(seed + 977);
  const codes = look.normals(new Float64Array(2 * shown));
  const real = draw(look, new Float64Array(2 * shown));
  const [batchReal, noise] = [new Float64Array(2 * batch), new Float64Array(2 * batch)];
  const share = new Float64Array(batch);
  let step = 0;

  /** Points of the data. @type {(from: Dice, into: Float64Array) => Float64Array} */
  function draw(from, into) {
    from.normals(into);
    for (let k = 0; k < into.length; k += 2) {
      const centre = centres[Math.floor(from.uniform() * centres.length)];
      for (let c = 0; c < 2; c++) into[k + c] = centre[c] + sigma * into[k + c];
    }
    return into;
  }

  // One step of both; settings are what the reader has chosen at this moment.
  function advance(/** @type {GanSettings} */ { w, margin, rate, decay }) {
    const left = Math.max(0, 1 - step / steps);
    const pace = 1e-6 + Math.max(0, rate - 1e-6) * left;
    const weights = [0, decay ? w * left : w];
    draw(dice, batchReal);
    dice.normals(noise);
    for (let k = 0; k < batch; k++) share[k] = dice.uniform();
    const before = players.map((player, p) => {
      if (player.stopped) return null;
      const { discriminator, adam, passes, middle } = player;
      const fake = gan.forward(passes.generated, noise);
      for (let o = 0; o < 2 * batch; o++) {
        const alpha = share[o >> 1];
        middle[o] = alpha * batchReal[o] + (1 - alpha) * fake[o];
      }
      const result = gan.discriminatorLoss(player, batchReal, fake, middle, { w: weights[p], margin });
      gan.adamStep(discriminator.theta, adam.discriminator, pace);
      return result;
    });
    dice.normals(noise);
    step++;
    for (const [p, player] of players.entries()) {
      const first = before[p];
      if (!first) continue;
      const second = gan.generatorLoss(player, noise);
      gan.adamStep(player.generator.theta, player.adam.generator, pace);
      const own = [player.discriminator, player.generator];
      if (finite([first.loss, second.loss]) && own.every((net) => finite(net.theta))) {
        player.trace.push(step, first.adversarial, second.adversarial);
        continue;
      }
      player.stopped =
        `The loss was no longer a number at step ${step}. This run has stopped; shown is step ` +
        `${player.good.step}, the last good one.`;
      for (const [n, net] of own.entries()) net.theta.set(player.good.theta[n]);
    }
  }

  /** `count` steps, no more than the run has; yields after each. @type {GanTrainer["train"]} */
  function* train(count, settings, times) {
    for (const { stopped, good, discriminator, generator } of players) {
      const theta = [discriminator, generator].map((net) => net.theta.slice());
      if (!stopped) Object.assign(good, { step, theta });
    }
    for (let i = 0; i < count && step < steps && players.some((p) => !p.stopped); i++) {
      const start = performance.now();
      advance(settings);
      times.push(performance.now() - start);
      yield;
    }
  }

  // What is to be seen of both; `layer` counts the hidden layers from 0, -1 takes all.
  /** @type {GanTrainer["snapshot"]} */
  function* snapshot(layer, margin) {
    const panels = [];
    for (const player of players) {
      panels.push(yield* panel(player, layer, margin));
      yield;
    }
    return { step, panels, real: Float32Array.from(real) };
  }

  /** @type {(player: GanPlayer, layer: number, margin: number) => Generator<void, GanPanel>} */
  function* panel({ discriminator, generator, trace, stopped }, layer, margin) {
    const fakes = gan.forward(gan.makePass(generator, shown), codes);
    const pass = gan.makePass(discriminator, shown);
    gan.forward(pass, fakes);
    const slopes = new Float64Array(2 * shown);
    gan.backward(pass, new Float64Array(shown).fill(1), null, { inwards: slopes });
    const signs = patterns(pass);
    yield;
    const layers = layer < 0 ? [...signs.keys()] : [layer];
    const under = new Set(Array.from(signs[0], (_, k) => layers.map((l) => signs[l][k]).join()));
    const list = yield* cells(discriminator, layer < 0 ? signs.length : layer + 1, limit);
    const arrays = cellArrays(list, layers);
    const pieces = new Set(list.map(({ words }) => layers.map((l) => words[l]).join())).size;
    yield;
    const pairs = Math.min(128, shown);
    const d = discriminator.layers[gan.REGULARISED].outputs;
    const h = pass.pre[gan.REGULARISED].subarray(0, pairs * d);
    const { G, marginalEntropy, activationCorrelation } = gan.breTerms(h, pairs, { margin, keep: true });
    return {
      ...arrays,
      ...coverage(fakes),
      ...{ stopped, pieces, marginalEntropy, activationCorrelation, patterns: under.size },
      fakes: Float32Array.from(fakes),
      arrows: Float32Array.from(slopes.subarray(0, 2 * arrows)),
      bins: binsOf(G, pairs),
      trace: Float32Array.from(trace.splice(0)),
      spread: gradientSpread(slopes),
    };
  }

  function coverage(/** @type {Float64Array} */ fakes) {
    const hit = new Set();
    let near = 0;
    for (let k = 0; k < shown; k++) {
      const far = centres.map(([x, y]) => Math.hypot(fakes[2 * k] - x, fakes[2 * k + 1] - y));
      const least = Math.min(...far);
      if (!(least <= 3 * sigma)) continue;
      near++;
      hit.add(far.indexOf(least));
    }
    return { modes: hit.size, quality: near / shown, collapsed: extent(fakes) < 0.01 * extent(real) };
  }
  return { train, snapshot, players };
}

// What the worker runs, and the page itself where no worker can be made: one job after the other.
/** @type {() => (request: GanRequest, tell: (answer: GanAnswer) => void) => Generator<void>} */
export function ganHost() {
  /** @type {GanTrainer | null} */
  let trainer = null;
  return function* ({ begin, count, settings, layer }, tell) {
    if (begin) trainer = ganTrainer(begin);
    if (!trainer) return;
    /** @type {number[]} */
    const times = [];
    yield* trainer.train(count, settings, times);
    tell({ ...(yield* trainer.snapshot(layer, settings.margin)), times });
  };
}
