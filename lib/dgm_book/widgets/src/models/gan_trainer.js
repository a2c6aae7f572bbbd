// Two GANs that see the same numbers, one without BRE and one with it.

import * as gan from "./gan.js";
import { cells, patterns } from "./gan_cells.js";

/** @type {(config: GanConfig) => GanTrainer} */
export function ganTrainer({ centres, sigma, seed, width, batch, steps, limit, shown, arrows }) {
  const dice = gan.makeDice(seed);
  const discriminator = gan.initialise(gan.makeDiscriminator(width), dice);
  const generator = gan.initialise(gan.makeGenerator(width), dice);
  /** @type {GanPlayer[]} */
  const players = [0, 1].map(() => ({
    ...gan.makePlayer(gan.copyOf(discriminator), gan.copyOf(generator), batch),
    trace: [],
    stopped: "",
    good: { step: 0, theta: [] },
  }));
  const look = gan.makeDice(seed + 977);
  const codes = look.normals(new Float64Array(2 * shown));
  const real = draw(look, shown);
  const [batchReal, noise] = [new Float64Array(2 * batch), new Float64Array(2 * batch)];
  const share = new Float64Array(batch);
  let step = 0;

  /** @type {(from: Dice, n: number, into?: Float64Array) => Float64Array} */
  function draw(from, n, into = new Float64Array(2 * n)) {
    from.normals(into);
    for (let k = 0; k < n; k++) {
      const centre = centres[Math.floor(from.uniform() * centres.length)];
      for (let c = 0; c < 2; c++) into[2 * k + c] = centre[c] + sigma * into[2 * k + c];
    }
    return into;
  }

  /** @type {(values: number[] | Float64Array) => boolean} */
  const finite = (values) => values.every(Number.isFinite);

  // One step of both; settings are what the reader has chosen at this moment.
  /** @type {(settings: GanSettings) => void} */
  function advance({ w, margin, rate, decay }) {
    const left = Math.max(0, 1 - step / steps);
    const pace = 1e-6 + Math.max(0, rate - 1e-6) * left;
    const weight = decay ? w * left : w;
    draw(dice, batch, batchReal);
    dice.normals(noise);
    for (let k = 0; k < batch; k++) share[k] = dice.uniform();
    const losses = players.map((player, p) => {
      if (player.stopped) return null;
      const fake = gan.forward(player.passes.made, noise);
      for (let o = 0; o < 2 * batch; o++) {
        const alpha = share[o >> 1];
        player.middle[o] = alpha * batchReal[o] + (1 - alpha) * fake[o];
      }
      const told = gan.discriminatorLoss(player, batchReal, fake, player.middle, {
        w: p ? weight : 0,
        margin,
      });
      gan.adamStep(player.discriminator.theta, player.adam.discriminator, pace);
      return told;
    });
    dice.normals(noise);
    step++;
    players.forEach((player, p) => {
      if (player.stopped) return;
      const told = gan.generatorLoss(player, noise);
      gan.adamStep(player.generator.theta, player.adam.generator, pace);
      const nets = [player.discriminator, player.generator];
      const before = losses[p];
      if (before && finite([before.loss, told.loss]) && nets.every((net) => finite(net.theta))) {
        player.trace.push(step, before.adversarial, told.adversarial);
      } else {
        player.stopped =
          `The loss was no longer a number at step ${step}. This run has stopped; shown is step ` +
          `${player.good.step}, the last good one.`;
        for (const [n, net] of nets.entries()) net.theta.set(player.good.theta[n]);
      }
    });
  }

  /** `count` steps, no more than the run has; yields after each. @type {GanTrainer["train"]} */
  function* train(count, settings, times) {
    for (const player of players) {
      if (!player.stopped)
        player.good = { step, theta: [player.discriminator.theta.slice(), player.generator.theta.slice()] };
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
    /** @type {GanPanel[]} */
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
    const words = patterns(pass);
    yield;
    const chosen = layer < 0 ? words.map((_, l) => l) : [layer];
    /** @type {(of: (layer: number) => number) => string} */
    const name = (of) => chosen.map((l) => of(l)).join();
    const under = new Set(Array.from(fakes.subarray(0, shown), (_, k) => name((l) => words[l][k])));
    const depth = layer < 0 ? words.length : layer + 1;
    const list = yield* cells(discriminator, depth, limit);
    const paint = new Uint32Array(list.length);
    const lengths = new Uint16Array(list.length);
    let total = 0;
    list.forEach(({ points, words: mine }, i) => {
      let hash = 0x811c9dc5;
      for (const l of chosen) {
        hash = Math.imul(hash ^ mine[l], 0x9e3779b1);
        hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca77);
      }
      paint[i] = (hash ^ (hash >>> 13)) >>> 0;
      total += lengths[i] = points.length;
    });
    const corners = new Float32Array(total);
    let at = 0;
    for (const { points } of list) {
      corners.set(points, at);
      at += points.length;
    }
    const seen = new Set(list.map(({ words: mine }) => name((l) => mine[l])));
    yield;
    const pairs = Math.min(128, shown);
    const d = discriminator.layers[gan.REGULARISED].outputs;
    const terms = gan.breTerms(pass.pre[gan.REGULARISED].subarray(0, pairs * d), pairs, {
      margin,
      keep: true,
    });
    const bins = new Uint32Array(41);
    for (let i = 0; i < pairs; i++) {
      for (let j = 0; j < i; j++) bins[Math.round(20 * (terms.G[i * pairs + j] + 1))]++;
    }
    return {
      fakes: Float32Array.from(fakes),
      arrows: Float32Array.from(slopes.subarray(0, 2 * arrows)),
      corners,
      lengths,
      paint,
      bins,
      stopped,
      patterns: under.size,
      pieces: seen.size,
      marginalEntropy: terms.marginalEntropy,
      activationCorrelation: terms.activationCorrelation,
      trace: Float32Array.from(trace.splice(0)),
      spread: gradientSpread(slopes),
      ...coverage(fakes),
    };
  }

  // One minus the mean cosine between the input gradients at two different points.
  /** @type {(slopes: Float64Array) => number} */
  function gradientSpread(slopes) {
    const n = slopes.length / 2;
    let [x, y, found] = [0, 0, 0];
    for (let k = 0; k < n; k++) {
      const size = Math.hypot(slopes[2 * k], slopes[2 * k + 1]);
      if (!size) continue;
      x += slopes[2 * k] / size;
      y += slopes[2 * k + 1] / size;
      found++;
    }
    return 1 - (x * x + y * y - found) / (n * (n - 1));
  }

  /** @type {(fakes: Float64Array) => { modes: number, quality: number, collapsed: boolean }} */
  function coverage(fakes) {
    const hit = new Set();
    let near = 0;
    for (let k = 0; k < shown; k++) {
      let [best, which] = [Infinity, -1];
      centres.forEach(([x, y], c) => {
        const far = Math.hypot(fakes[2 * k] - x, fakes[2 * k + 1] - y);
        if (far < best) [best, which] = [far, c];
      });
      if (best > 3 * sigma) continue;
      near++;
      hit.add(which);
    }
    return { modes: hit.size, quality: near / shown, collapsed: extent(fakes) < 0.01 * extent(real) };
  }

  /** Root of the total variance. @type {(points: Float64Array) => number} */
  function extent(points) {
    let [x, y, xx] = [0, 0, 0];
    const n = points.length / 2;
    for (let k = 0; k < n; k++) {
      x += points[2 * k] / n;
      y += points[2 * k + 1] / n;
    }
    for (let k = 0; k < n; k++) xx += ((points[2 * k] - x) ** 2 + (points[2 * k + 1] - y) ** 2) / n;
    return Math.sqrt(xx);
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
