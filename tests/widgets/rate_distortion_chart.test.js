import assert from "node:assert/strict";
import { test } from "node:test";
import { boxOf } from "../../lib/dgm_book/widgets/src/rate_distortion_chart.js";

const curve = { beta: [0.1, 1], rate: [0.01, 100], distortion: [50, 5], log_z: [-5, -105] };
const codec = { label: "codec", marked: true, rate: [200, 1000], distortion: [9, 1] };

test("a linear rate leaves the references out of the scale, a logarithmic one has room for them", () => {
  const box = (logRate) => boxOf([curve], [codec], 500, { log: true, logRate, references: true });
  const [straight, bent] = [box(false), box(true)];
  assert.ok(straight.py(200) < straight.top && straight.most < 200);
  assert.ok(bent.py(1000) > bent.top && bent.py(100) < bent.bottom);
  const rise = (low, high) => bent.py(low) - bent.py(high);
  assert.ok(Math.abs(rise(1, 10) - rise(10, 100)) < 1e-9);
  assert.ok(Number.isFinite(bent.py(0)) && bent.py(0) > bent.bottom);
  assert.equal(straight.least, bent.least);
  assert.ok(straight.px(1) < straight.left);
});
