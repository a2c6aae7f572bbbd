import assert from "node:assert/strict";
import { test } from "node:test";
import * as gan from "../../lib/dgm_book/widgets/src/models/gan.js";
import { cells } from "../../lib/dgm_book/widgets/src/models/gan_cells.js";
import { ganTrainer } from "../../lib/dgm_book/widgets/src/models/gan_trainer.js";
import { finish, golden, near } from "./golden.js";

const doubles = (values) => Float64Array.from(values.flat());

for (const one of golden.gan_losses) {
  test(`losses and gradients, width ${one.width}, margin ${one.margin}, weight ${one.weight}`, () => {
    const [d, g] = [gan.makeDiscriminator(one.width), gan.makeGenerator(one.width)];
    d.theta.set(one.theta);
    g.theta.set(one.psi);
    const player = gan.makePlayer(d, g, one.z.length);
    const points = [one.real, one.fake, one.between].map(doubles);
    const settings = { w: one.weight, margin: one.margin };
    const { loss, onFake, onBetween } = gan.discriminatorLoss(player, ...points, settings);
    near(loss, one.loss, { relative: 1e-10 });
    near(player.adam.discriminator.g, one.gradient, { ofLargest: 1e-4 });
    if (one.weight) {
      for (const [terms, expected] of [
        [onFake, one.terms_fake],
        [onBetween, one.terms_between],
      ]) {
        near([terms.marginalEntropy, terms.activationCorrelation], expected, { relative: 1e-10 });
      }
      assert.ok(one.margin === 3 || onFake.activationCorrelation > 0.01);
    }
    near(gan.generatorLoss(player, doubles(one.z)).loss, one.generator, { relative: 1e-10 });
    near(player.adam.generator.g, one.push, { ofLargest: 1e-4 });
  });
}

test("Adam is PyTorch's", () => {
  const { theta, gradients, rate, end } = golden.adam;
  const zeros = () => new Float64Array(theta.length);
  const [state, found] = [{ g: zeros(), m: zeros(), v: zeros(), t: 0 }, Float64Array.from(theta)];
  for (const gradient of gradients) {
    state.g.set(gradient);
    gan.adamStep(found, state, rate);
  }
  near(found, end, { relative: 1e-12 });
});

test("the two terms of BRE are the library's", () => {
  for (const { h, margin, terms } of golden.bre_terms) {
    const got = gan.breTerms(doubles(h), h.length, { margin, zeta: 0.01 });
    near([got.marginalEntropy, got.activationCorrelation], terms, { absolute: 1e-12 });
  }
});

test("a playground's points and read-outs are the library's", () => {
  const { theta, psi, centres, fakes, panel, terms } = golden.readouts;
  const trainer = ganTrainer({ ...config, centres, sigma: 0.1 });
  const { discriminator, generator } = trainer.players[1];
  discriminator.theta.set(theta);
  generator.theta.set(psi);
  const got = finish(trainer.snapshot(-1, 3)).panels[1];
  near(got.fakes, fakes, { absolute: 1e-6 });
  for (const [name, expected] of Object.entries(panel)) near(got[name], expected, { relative: 1e-9 });
  near([got.marginalEntropy, got.activationCorrelation], terms, { relative: 1e-9 });
  assert.ok(panel.modes >= 2 && panel.patterns > 5, "there is something to compare");
});

test("the cells fill the square and hold every pattern of a grid", () => {
  const { theta, width, limit, grid } = golden.cells;
  const network = gan.makeDiscriminator(width);
  network.theta.set(theta);
  const onGrid = new Set(grid.map(String));
  const names = new Set();
  let total = 0;
  for (const { points, words } of finish(cells(network, 4, limit))) {
    let area = 0;
    for (let p = 0, n = points.length; p < n; p += 2) {
      area += (points[p] * points[(p + 3) % n] - points[(p + 2) % n] * points[p + 1]) / 2;
    }
    assert.ok(area >= 0);
    total += area;
    names.add(words.join());
    assert.ok(onGrid.has(words.join()) || area < 0.01, "a cell that the grid misses is small");
  }
  near(total, 4 * limit ** 2, { relative: 1e-12 });
  assert.ok(onGrid.size > 100);
  for (const name of onGrid) assert.ok(names.has(name));
});

// Training

const eight = Array.from({ length: 8 }, (_, k) => [Math.cos((k * Math.PI) / 4), Math.sin((k * Math.PI) / 4)]);
const config = {
  sigma: 0.05,
  seed: 3,
  width: 10,
  batch: 64,
  steps: 1000,
  limit: 1.5,
  shown: 200,
  arrows: 40,
};

function train(count, changes = {}) {
  const settings = { w: 1, margin: 3, rate: 0.002, decay: true, ...changes };
  const trainer = ganTrainer({ ...config, centres: eight });
  finish(trainer.train(count, settings, []));
  const nets = trainer.players.map((p) => [p.discriminator, p.generator].map((n) => Array.from(n.theta)));
  return { ...finish(trainer.snapshot(-1, settings.margin)), nets };
}

test("one seed trains both, and only the weight, which falls to zero, parts them", () => {
  const same = train(50, { w: 0 }).nets;
  assert.deepEqual(same[0], same[1]);
  const apart = train(50).nets;
  assert.deepEqual(apart[0], same[0]);
  assert.notDeepEqual(apart[1], same[1]);
  assert.deepEqual(train(50).nets, apart);
  assert.notDeepEqual(train(50, { decay: false }).nets, apart);
});

test("training reaches the modes, and ends", () => {
  const [start, end] = [1, 2000].map((count) => train(count));
  assert.equal(end.step, 1000);
  assert.ok(start.panels[0].quality < 0.1 && end.panels[0].quality > 0.1);
  assert.ok(end.panels[0].modes >= 2);
});

test("a loss that is no number stops a run at its last good step", () => {
  const { panels, nets } = train(5, { rate: 1e300 });
  for (const { stopped } of panels) assert.match(stopped, /no longer a number at step/);
  assert.ok(nets.flat(2).every(Number.isFinite));
});
