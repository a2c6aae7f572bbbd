// The particles' family tree, on a canvas between what lies under and over it, above their effective sample
// sizes.

import { element, italic, MARKS, penOf, shape, ticks } from "./frame.js";
import { axisName, leftAxis, place, resize, words } from "./plot.js";

const [LEFT, TOP, TALL, GAP, LOW] = [30, 8, 230, 30, 56]; // px, of the picture
const BOTTOM = TOP + TALL + GAP + LOW;
const KEY =
  "A dot is a particle, its area its weight. Strong lines lead to a particle of the last step, pale " +
  "ones have died out. Thick line and band: the Kalman mean, two deviations to either side; crosses: " +
  "observations. A wedge marks a resampling.";
/** @type {(node: Element, text: string) => void} */
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// The family tree, on a canvas between what lies under and over it, above the effective sample sizes.
/** @type {(w: Widget) => Tree} */
export function makeTree(w) {
  const canvas = element("canvas", { role: "img", "aria-label": "Particles" });
  const pen = penOf(canvas);
  const axes = shape("g");
  const parts = ["band", "mean", "under", "seen", "bars", "half", "struck"];
  const [band, mean, under, seen, bars, half, struck] = parts.map((name) =>
    shape("path", { class: `dgm-mu-${name}` }),
  );
  const essName = shape("text.dgm-strong.dgm-halo", "effective sample size (dashed: half)");
  const most = shape("text", { "text-anchor": "end" });
  const sheets = [
    shape("svg", { "aria-hidden": "true" }, axes, band),
    shape("svg", { "aria-hidden": "true" }, mean, under, seen, bars, half, struck, essName, most),
  ];
  w.picture.append(element("div.dgm-mu-stage", sheets[0], canvas, sheets[1]), element("p.dgm-note", KEY));
  let [width, step, low, high] = [0, 1, 0, 1];
  const px = (/** @type {number} */ t) => LEFT + (t + 0.5) * step;
  const py = (/** @type {number} */ v) => TOP + ((high - v) / (high - low)) * TALL;

  /** @type {(T: number) => void} */
  function layAxes(T) {
    const every = Math.max(1, Math.ceil(22 / step));
    const steps = Array.from({ length: T }, (_, t) => t).filter((t) => t % every === 0);
    axes.replaceChildren(
      ...leftAxis(ticks(low, high, 6), { py, left: LEFT, right: width - 8 }),
      shape("path.dgm-axis", { d: `M${LEFT} ${BOTTOM}H${width - 8}` }),
      ...steps.map((t) => words(px(t), BOTTOM + 15, String(t + 1))),
      axisName(LEFT + (width - LEFT) / 2, BOTTOM + 31, "step"),
      shape("text.dgm-strong.dgm-halo", { x: LEFT + 4, y: TOP + 10 }, "state ", italic("z")),
    );
    for (const sheet of sheets) resize(sheet, width, BOTTOM + 36);
    const box = { left: LEFT, top: TOP, width: width - LEFT - 8, height: TALL };
    for (const [name, v] of Object.entries(box)) canvas.style.setProperty(name, `${v}px`);
    place(essName, { x: LEFT + 4, y: TOP + TALL + 18 });
    place(most, { x: LEFT - 5, y: BOTTOM - LOW + 5 });
    place(half, { d: `M${LEFT} ${BOTTOM - LOW / 2}H${width - 8}` });
  }

  /** @type {Tree["layout"]} */
  function layout({ x, filtered }, wide) {
    width = wide;
    step = (width - LEFT - 14) / x.length;
    const spread = filtered.deviation.map((v) => 3 * v + 0.2);
    low = Math.min(-3.4, ...x.map((v, i) => Math.min(v - 0.2, filtered.mean[i] - spread[i])));
    high = Math.max(3.4, ...x.map((v, i) => Math.max(v + 0.2, filtered.mean[i] + spread[i])));
    layAxes(x.length);
    const line = (/** @type {number[]} */ values) =>
      values.map((v, t) => `${px(t).toFixed(1)} ${py(v).toFixed(1)}`);
    const edge = (/** @type {number} */ way) =>
      filtered.mean.map((m, t) => m + way * 2 * filtered.deviation[t]);
    place(mean, { d: `M${line(filtered.mean).join("L")}` });
    place(band, { d: `M${[...line(edge(1)), ...line(edge(-1)).reverse()].join("L")}Z` });
    const crosses = x.map((v, t) => `M${px(t) - 4} ${py(v) - 4}l8 8m0 -8l-8 8`).join("");
    for (const part of [under, seen]) place(part, { d: crosses });
  }

  /** @type {(current: ParticleRun, strong: number) => void} */
  function strokeLines({ cloud: { T, N, z, parent }, alive }, strong) {
    pen.beginPath();
    for (let t = 1, o = N; t < T; t++) {
      const [from, to] = [px(t - 1), px(t)];
      for (let n = 0; n < N; n++, o++) {
        if (alive[o] !== strong) continue;
        pen.moveTo(from, py(z[(t - 1) * N + parent[o]]));
        pen.lineTo(to, py(z[o]));
      }
    }
    pen.globalAlpha = strong ? 0.9 : 0.3;
    pen.lineWidth = strong ? 1.5 : 0.8;
    pen.stroke();
  }

  // In units of CSS pixels; what lies outside the canvas is cut off.
  /** @type {(current: ParticleRun, colour: string, dense: number) => void} */
  function paintTree(current, colour, dense) {
    const { T, N, z, w: weights } = current.cloud;
    const [wide, tall] = [width - LEFT - 8, TALL].map((v) => Math.round(v * dense));
    if (canvas.width !== wide) canvas.width = wide;
    if (canvas.height !== tall) canvas.height = tall;
    pen.setTransform(dense, 0, 0, dense, -LEFT * dense, -TOP * dense);
    pen.clearRect(LEFT, TOP, width, TALL);
    pen.strokeStyle = colour;
    pen.fillStyle = colour;
    for (const strong of [0, 1]) strokeLines(current, strong);
    pen.beginPath();
    for (let t = 0, o = 0; t < T; t++) {
      const x = px(t);
      for (let n = 0; n < N; n++, o++) {
        const y = py(z[o]);
        const r = 8 * Math.sqrt(weights[o]);
        if (r > 1) {
          pen.moveTo(x + r, y);
          pen.arc(x, y, r, 0, 2 * Math.PI);
        } else pen.rect(x - 0.8, y - 0.8, 1.6, 1.6); // a circle takes much longer
      }
    }
    pen.globalAlpha = 0.6;
    pen.fill();
  }

  /** @type {(cloud: Cloud) => void} */
  function paintBars({ N, ess, resampled }) {
    const wide = Math.min(26, 0.6 * step);
    const tall = (/** @type {number} */ v) => (v / N) * LOW;
    const columns = Array.from(
      ess,
      (v, t) => `M${px(t) - wide / 2} ${BOTTOM}v${-tall(v)}h${wide}V${BOTTOM}Z`,
    );
    const wedges = Array.from(ess, (v, t) =>
      resampled[t] ? MARKS.wedge(px(t), BOTTOM - tall(v) - 7, 4) : "",
    );
    place(bars, { d: columns.join("") });
    place(struck, { d: wedges.join("") });
    put(most, String(N));
  }
  /** @type {Tree["paint"]} */
  const paint = (current, colour, dense) => {
    paintTree(current, colour, dense);
    paintBars(current.cloud);
  };
  return { canvas, layout, paint };
}
/**
 * @typedef {{ canvas: HTMLCanvasElement, layout(data: ParticleData, width: number): void,
 *   paint(current: ParticleRun, colour: string, dense: number): void }} Tree
 */
