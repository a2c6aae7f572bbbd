// The particles' family tree, on a canvas between what lies under and over it, above their effective sample
// sizes.

import { between, linear, through } from "./charts.js";
import { element, italic, MARKS, penOf, shape, ticks } from "./frame.js";
import { axisName, leftAxis, resize, words } from "./plot.js";

const [LEFT, TOP, TALL, GAP, LOW] = [30, 8, 190, 30, 56]; // px, of the picture
const BOTTOM = TOP + TALL + GAP + LOW;
const KEY =
  "Dots are particles, their area the weight. Strong lines lead to the last step, pale ones died out. " +
  "Thick line and band: the Kalman mean \u00b1 2 deviations; crosses: observations; wedges: resampling.";

/** @type {(w: Widget) => Tree} */
export function makeTree(w) {
  const canvas = element("canvas", { role: "img", "aria-label": "Particles" });
  const pen = penOf(canvas);
  const [under, over, costs] = ["svg", "svg", "g"].map((tag) => shape(/** @type {"svg"} */ (tag)));
  for (const sheet of [under, over]) sheet.setAttribute("aria-hidden", "true");
  w.picture.append(element("div.dgm-mu-stage", under, canvas, over), element("p.dgm-note", KEY));
  let [width, step] = [0, 1];
  /** @type {Scale1D} */
  const px = (t) => LEFT + (t + 0.5) * step;
  /** @type {Scale1D} */
  let py = Number;

  /** @type {Tree["layout"]} */
  function layout({ x, filtered: { mean, deviation } }, wide) {
    width = wide;
    step = (width - LEFT - 14) / x.length;
    const right = width - 8;
    const reach = deviation.map((v) => 3 * v + 0.2);
    const low = Math.min(-3.4, ...x.map((v, i) => Math.min(v - 0.2, mean[i] - reach[i])));
    const high = Math.max(3.4, ...x.map((v, i) => Math.max(v + 0.2, mean[i] + reach[i])));
    py = linear([low, high], [TOP + TALL, TOP]);
    const every = Math.max(1, Math.ceil(22 / step));
    const line = (/** @type {number} */ side) =>
      mean.map((v, t) => [px(t).toFixed(1), py(v + 2 * side * deviation[t]).toFixed(1)]);
    under.replaceChildren(
      ...leftAxis(ticks(low, high, 6), { py, left: LEFT, right }),
      shape("path.dgm-axis", { d: `M${LEFT} ${BOTTOM}H${right}` }),
      ...x.flatMap((_, t) => (t % every ? [] : [words(px(t), BOTTOM + 15, String(t + 1))])),
      axisName(LEFT + (width - LEFT) / 2, BOTTOM + 31, "step"),
      shape("text.dgm-strong.dgm-halo", { x: LEFT + 4, y: TOP + 10 }, "state ", italic("z")),
      shape("path.dgm-mu-band", { d: between(line(1), line(-1)) }),
    );
    const d = x.map((v, t) => `M${px(t) - 4} ${py(v) - 4}l8 8m0 -8l-8 8`).join("");
    const essName = { x: LEFT + 4, y: TOP + TALL + 18 };
    over.replaceChildren(
      shape("path.dgm-mu-mean", { d: through(line(0)) }),
      ...["under", "seen"].map((name) => shape("path", { class: `dgm-mu-${name}`, d })),
      costs,
      shape("path.dgm-mu-half", { d: `M${LEFT} ${BOTTOM - LOW / 2}H${right}` }),
      shape("text.dgm-strong.dgm-halo", essName, "effective sample size (dashed: half)"),
    );
    for (const sheet of [under, over]) resize(sheet, width, BOTTOM + 36);
    const box = { left: LEFT, top: TOP, width: right - LEFT, height: TALL };
    for (const [name, v] of Object.entries(box)) canvas.style.setProperty(name, `${v}px`);
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
    const { N, z, w: weights } = current.cloud;
    const [wide, tall] = [width - LEFT - 8, TALL].map((v) => Math.round(v * dense));
    if (canvas.width !== wide || canvas.height !== tall) Object.assign(canvas, { width: wide, height: tall });
    pen.setTransform(dense, 0, 0, dense, -LEFT * dense, -TOP * dense);
    pen.clearRect(LEFT, TOP, width, TALL);
    pen.strokeStyle = pen.fillStyle = colour;
    for (const strong of [0, 1]) strokeLines(current, strong);
    pen.beginPath();
    for (let o = 0; o < z.length; o++) {
      const [x, y, r] = [px(Math.floor(o / N)), py(z[o]), 8 * Math.sqrt(weights[o])];
      if (r > 1) {
        pen.moveTo(x + r, y);
        pen.arc(x, y, r, 0, 2 * Math.PI);
      } else pen.rect(x - 0.8, y - 0.8, 1.6, 1.6); // a circle takes much longer
    }
    pen.globalAlpha = 0.6;
    pen.fill();
  }

  function paintBars(/** @type {Cloud} */ { N, ess, resampled }) {
    const wide = Math.min(26, 0.6 * step);
    const tall = Array.from(ess, (v) => (v / N) * LOW);
    const bars = tall.map((v, t) => `M${px(t) - wide / 2} ${BOTTOM}v${-v}h${wide}V${BOTTOM}Z`);
    const wedges = tall.map((v, t) => (resampled[t] ? MARKS.wedge(px(t), BOTTOM - v - 7, 4) : ""));
    costs.replaceChildren(
      shape("path.dgm-mu-bars", { d: bars.join("") }),
      shape("path.dgm-mu-struck", { d: wedges.join("") }),
      words(LEFT - 5, BOTTOM - LOW + 5, String(N), { "text-anchor": "end" }),
    );
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
