// The rate-distortion explorer: a slider over beta moves a dot along the curve, and samples morph.

import { labelledSlider, SHAPES } from "../controls.js";
import { formOf, readoutList, tickOf } from "../form.js";
import * as frame from "../frame.js";
import { element, MARKS, number, rich, shape, withError } from "../frame.js";
import { last } from "../models/arrays.js";
import { bufferOf, decode, floatsOf, loadNetworks } from "../models/nn.js";
import { onDrag } from "../pads.js";
import { sign } from "../plot.js";
import { makeChart } from "../rate_distortion_chart.js";
import { defineWidget } from "../widget.js";

/** @import { Curve, Mark, Reference } from "../rate_distortion_chart.js" */
/** @typedef {ReturnType<typeof looksOf>} Looks */

const BUDGET_MS = 6; // of one frame, after which no further picture is begun
const DASHES = ["", "7 4", "2 3.5", "9 3 2 3", "4 2"];

// A family has its dash and a latent size its mark; without families each curve has its own of both.
function looksOf(/** @type {Curve[]} */ curves) {
  const families = [...new Set(curves.flatMap(({ family }) => family || []))];
  const sizes = [...new Set(curves.flatMap(({ latent_dim: size }) => size || []))].sort((a, b) => a - b);
  const grouped = families.length > 0;
  const dashAt = (/** @type {number} */ i) => DASHES[i % DASHES.length];
  const markAt = (/** @type {number} */ i) => MARKS[SHAPES[i % SHAPES.length]];
  const dash = (/** @type {number} */ i) => dashAt(grouped ? families.indexOf(curves[i].family ?? "") : i);
  /** @type {(i: number) => Mark} */
  const mark = (i) => markAt(grouped ? sizes.indexOf(curves[i].latent_dim ?? 0) : i);
  return { families, sizes, dash, mark, dashAt, markAt };
}

// The samples, each beside its target: the image itself, else as the best decoder has it.
/** @type {(w: Widget, curves: Curve[], networks: Record<string, Network>) => Samples} */
function makeSamples(w, curves, networks) {
  const codes = floatsOf(w.get("codes"));
  const bytes = new Uint8Array(bufferOf(w.get("targets")));
  const own = bytes.length ? Float32Array.from(bytes, (v) => v / 255) : null;
  const best = curves.reduce((a, b) => (last(b.distortion) < last(a.distortion) ? b : a));
  const [height, width] = w.get("image_shape");
  const canvas = element("canvas", { role: "img", "aria-label": "Decoded images" });
  const context = frame.penOf(canvas, true);
  const paint = frame.imagePainter(width, height);
  const caption = element("figcaption");
  const grow = Math.max(1, Math.round(128 / width));
  const tile = { w: width * grow, h: height * grow, gap: Math.round(0.09 * width * grow) };
  // Whole pixels only, so that no tile bleeds into the next; each pair stands in a frame.
  const near = tile.w + Math.round(tile.gap / 4);
  const box = { w: near + tile.w + tile.gap, h: tile.h + tile.gap };
  const pad = Math.floor(tile.gap / 2);
  let columns = 1;
  let [painted, next] = [/** @type {number[]} */ ([]), 0]; // positions by picture
  const corner = (/** @type {number} */ n) => {
    const [column, row] = [n % columns, Math.floor(n / columns)];
    return [column * (box.w + 2 * tile.gap) + pad, row * (box.h + tile.gap) + pad];
  };

  /** @type {(curve: Curve, position: number, image: number) => Float32Array} */
  function decoded({ codes: at, beta, model }, position, image) {
    const { images, latent, start } = at ?? { images: 0, latent: 0, start: 0 };
    const low = Math.floor(position);
    const high = Math.min(low + 1, beta.length - 1);
    const [from, to] = [low, high].map((k) => start + (k * images + image) * latent);
    const z = Float32Array.from(codes.subarray(from, from + latent), (a, k) => {
      return a + (position - low) * (codes[to + k] - a);
    });
    return decode(networks[model].layers, z);
  }

  /** @type {Samples["arrange"]} */
  function arrange(curve, narrow) {
    const images = curve.codes?.images ?? 0;
    columns = [narrow ? 4 : 2, 3, 1].find((c) => images % c === 0) ?? 1;
    canvas.width = columns * (box.w + 2 * tile.gap) - 2 * tile.gap;
    canvas.height = Math.ceil(images / columns) * (box.h + tile.gap) - tile.gap;
    [painted, next] = [Array(images).fill(-1), 0];
    [context.strokeStyle, context.lineWidth] = ["#808080", 2];
    const nearest = best.codes?.images === images ? best : curve;
    for (let n = 0; n < images; n++) {
      const image = own?.subarray(n * width * height, (n + 1) * width * height);
      const [x, y] = corner(n);
      context.strokeRect(x - pad + 1, y - pad + 1, box.w - 2, box.h - 2);
      paint(context, image ?? decoded(nearest, nearest.beta.length - 1, n), x, y, tile.w, tile.h);
    }
    const redrawn = `as ${nearest.label} redraws it at the largest *\u03b2*`;
    const why = "since the data\u2019s own pictures are not ours to give away";
    const target = own ? "the image *x* itself" : `the target *x*, ${redrawn}, ${why}`;
    const sample = "*f*\u2009(*z*), drawn from a code *z* of this *\u03b2*";
    caption.replaceChildren(...rich(`In each frame, left: ${target}; right: ${sample}.`));
  }
  /** Paints in turn, as many as one frame has the time for; whether all stand. @type {Samples["draw"]} */
  function draw(curve, position) {
    const end = performance.now() + BUDGET_MS;
    for (let i = 0; i < painted.length && performance.now() < end; i++, next = (next + 1) % painted.length) {
      if (painted[next] === position) continue;
      const [x, y] = corner(next);
      paint(context, decoded(curve, position, next), x + near, y, tile.w, tile.h);
      painted[next] = position;
    }
    return painted.every((at) => at === position);
  }
  return { canvas, node: element("figure", canvas, caption), arrange, draw };
}
/**
 * @typedef {{ canvas: Element, node: Element, arrange(curve: Curve, narrow: boolean): void,
 *   draw(curve: Curve, position: number): boolean }} Samples
 */

/** @typedef {{ value: string, words?: string, dash?: string, mark?: Mark, act(): void }} Choice */
// Radios with the looks of what they choose.
/** @type {(w: Widget, legend: string, head: string, choices: Choice[]) => Row} */
function signedRadios(w, legend, head, choices) {
  const all = choices.map(({ value, words = value, dash, mark, act }) => {
    const radio = element("input", { type: "radio", name: `${w.id}-${legend}`, value });
    radio.addEventListener("change", act);
    const line = shape("path.dgm-rd-line", { d: "M1 7H33", "stroke-dasharray": dash ?? "" });
    const dots = mark ? [shape("path.dgm-rd-marks", { d: mark(17, 7, 4) })] : [];
    const icon = sign("", ...(dash === undefined ? [] : [line]), ...dots);
    return { radio, icon, label: element("label", radio, icon, words) };
  });
  const labels = all.map(({ label }) => label);
  const row = element("div.dgm-row", { role: "radiogroup", "aria-label": legend }, ...labels);
  if (head) row.prepend(element("span", head));
  /** @type {Row["show"]} */
  const show = (value, possible = () => true) => {
    for (const { radio, icon } of all) {
      radio.checked = radio.value === value;
      radio.disabled = !possible(radio.value);
      icon.classList.toggle("dgm-chosen", radio.checked);
    }
  };
  return { row, show };
}
/** @typedef {{ row: HTMLElement, show(value: string, possible?: (value: string) => boolean): void }} Row */

function decadeMarks(/** @type {number[]} */ betas) {
  return [-6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6].flatMap((power) => {
    const k = betas.findIndex((b) => b >= 10 ** power * (1 - 1e-9));
    if (k < 0 || (k === 0 && betas[0] > 10 ** power * (1 + 1e-6))) return [];
    const low = Math.max(betas[Math.max(0, k - 1)], 1e-12);
    const between =
      k > 0 && betas[k - 1] > 0 ? Math.log(10 ** power / low) / Math.log(betas[k] / low) - 1 : 0;
    const mark = element("span", String(10 ** power).replace("0.000001", "1e\u22126"));
    mark.style.left = `${(100 * (k + between)) / (betas.length - 1)}%`;
    return [mark];
  });
}

// Only curves with pictures are offered.
/** @type {(w: Widget, curves: Curve[], looks: Looks, chosen: () => number) => Controls} */
function makeControls(w, curves, { families, sizes, dash, mark, dashAt, markAt }, chosen) {
  const form = formOf(w);
  /** Stays at the same beta as nearly as the other curve allows. @type {(i: number) => void} */
  const choose = (i) => {
    const beta = curves[chosen()].beta[w.get("beta_index")];
    const far = curves[i].beta.map((b) => Math.abs(Math.log((b + 1e-9) / (beta + 1e-9))));
    w.change({ model: curves[i].model, beta_index: far.indexOf(Math.min(...far)) });
  };
  // The family's curve whose latent size is nearest.
  const seek = (/** @type {string | undefined} */ family, size = 1) => {
    const off = curves.map((curve) =>
      curve.codes && curve.family === family ? Math.abs(Math.log((curve.latent_dim ?? 1) / size)) : Infinity,
    );
    choose(off.indexOf(Math.min(...off)));
  };
  const offers = (/** @type {(curve: Curve) => boolean} */ like) => curves.some((c) => c.codes && like(c));
  const models = curves.flatMap(({ model, label, codes }, i) => {
    return codes ? [{ value: model, words: label, dash: dash(i), mark: mark(i), act: () => choose(i) }] : [];
  });
  const kinds = families.flatMap((family, j) => {
    const act = () => seek(family, curves[chosen()].latent_dim);
    return offers((c) => c.family === family) ? [{ value: family, dash: dashAt(j), act }] : [];
  });
  const widths = sizes.flatMap((size, j) => {
    const act = () => seek(curves[chosen()].family, size);
    return offers((c) => c.latent_dim === size) ? [{ value: String(size), mark: markAt(j), act }] : [];
  });
  const byModel = signedRadios(w, "Model", "", models);
  const byFamily = signedRadios(w, "Family", "Family", kinds);
  const bySize = signedRadios(w, "Latent dimensions", "Latent size", widths);
  const name = "Price of errors, *\u03b2* (nats per unit)";
  const { input, node, show } = labelledSlider(`${w.id}-beta`, name, { min: 0, step: 1 }, (v) =>
    w.change({ beta_index: v }),
  );
  const decades = element("div.dgm-ticks", { "aria-hidden": "true" });
  node.append(decades);
  const rows = families.length ? [byFamily.row, bySize.row] : [byModel.row];
  const ticks = [
    tickOf(form, "log_distortion", "logarithmic *D* axis"),
    tickOf(form, "log_rate", "logarithmic *R* axis"),
  ];
  if (w.get("reference_lines").length) ticks.push(tickOf(form, "show_references", "reference lines"));
  w.controls.append(node, ...rows, element("div.dgm-row", ...ticks, form.reset()));
  return {
    begin({ model, family = "", latent_dim: size, beta }) {
      byModel.show(model);
      byFamily.show(family);
      bySize.show(String(size), (value) =>
        offers((curve) => curve.family === family && curve.latent_dim === Number(value)),
      );
      input.max = String(beta.length - 1);
      decades.replaceChildren(...decadeMarks(beta));
    },
    show(k, shown, spoken) {
      show(k, shown, spoken);
      form.show();
    },
  };
}
/** @typedef {{ begin(curve: Curve): void, show(k: number, shown: string, spoken: string): void }} Controls */

// The two numbers of the curve above the pictures, which change with them; the others below.
/** @type {(w: Widget, curves: Curve[], pictures: Element) => (curve: Curve, k: number) => void} */
function makeReadouts(w, curves, pictures) {
  const fill = readoutList(w.side, ["Rate *R*", "Error *D*"]);
  w.side.append(pictures);
  const fillOthers = readoutList(w.side, ["PSNR", "log *Z*"]);
  const known = curves.some((curve) => curve.rate_error || curve.log_z_error);
  if (known) w.side.append(element("p.dgm-small", "\u00b1 one standard error; bands: two."));
  const [height, width] = w.get("image_shape");
  const pixels = width * height;
  return (curve, k) => {
    const [rate, distortion, error] = [curve.rate[k], curve.distortion[k], curve.rate_error?.[k] ?? 0];
    const bits = rate / Math.LN2;
    const small = [`${withError(bits, error / Math.LN2)} bits`, `${number(bits / pixels)} bits/pixel`];
    fill(
      [`${withError(rate, error)} nats`, ...small.map((text) => element("small", text))],
      withError(distortion, curve.distortion_error?.[k] ?? 0),
    );
    fillOthers(
      `${(-10 * Math.log10(distortion / pixels)).toFixed(1)} dB`.replace("-", "\u2212"),
      `${withError(curve.log_z[k], curve.log_z_error?.[k] ?? 0)} nats`,
    );
  };
}

const OTHER = " Then choose another family or latent size at the same \u03b2.";
export default defineWidget(
  (model) => ({
    measure: "dgm:rate-distortion",
    names: ["model", "beta_index", "log_distortion", "log_rate", "show_references"],
    kind: "dgm-rd",
    hint:
      "drag \u03b2 to the right. Errors cost more, so the code says more, and pictures come back." +
      (model.get("curves")[0].family ? OTHER : ""),
    pause: 300,
    load: loadNetworks,
    forms(now) {
      /** @type {Curve[]} */
      const curves = model.get("curves");
      const { beta } = curves.find((curve) => curve.model === now.model) ?? curves[0];
      return { beta_index: { kind: "whole", key: "beta", values: beta } };
    },
  }),
  (w, networks) => {
    /** @type {Curve[]} */
    const curves = w.get("curves");
    const errors = curves.flatMap(({ model }) => networks[model]?.error ?? []);
    if (errors.length) w.root.dataset.goldenError = Math.max(...errors).toFixed(6);
    const chosen = () => curves.findIndex((curve) => curve.model === w.get("model"));
    const looks = looksOf(curves);
    /** @type {Reference[]} */
    const references = w.get("reference_lines");
    const chart = makeChart(w, curves, references, looks);
    const samples = makeSamples(
      w,
      curves.filter(({ codes }) => codes),
      networks,
    );
    const controls = makeControls(w, curves, looks, chosen);
    const showReadouts = makeReadouts(w, curves, samples.node);
    let [shown, position] = ["", Number(w.get("beta_index"))];
    // The dot can be dragged along its curve, too.
    const grasp = (/** @type {number} */ x, /** @type {number} */ y) =>
      w.change({ beta_index: chart.nearest(curves[chosen()], x, y) });
    onDrag(chart.svg, () => [chart.dot], grasp);

    return (width) => {
      const i = chosen();
      const curve = curves[i];
      const k = Math.min(w.get("beta_index"), curve.beta.length - 1);
      const narrow = w.side.clientWidth >= w.picture.clientWidth; // one below the other
      if (shown !== `${i} ${narrow}`) {
        [shown, position] = [`${i} ${narrow}`, k];
        samples.arrange(curve, narrow);
        controls.begin(curve);
        chart.choose(i);
      }
      const [log, logRate, shows] = ["log_distortion", "log_rate", "show_references"].map(w.get);
      chart.layout(width, { log, logRate, references: shows });
      const [beta, rate, distortion] = [curve.beta[k], curve.rate[k], curve.distortion[k]].map((v) =>
        number(v),
      );
      const says = `beta ${beta}, rate ${rate} nats, distortion ${distortion}`;
      controls.show(k, beta, says);
      showReadouts(curve, k);
      const images = `${curve.codes?.images} decoded images, ${curve.label}, beta ${beta}`;
      if (curve.codes) samples.canvas.setAttribute("aria-label", images);
      w.speak(`${curve.label}: ${says}, log Z ${number(curve.log_z[k])} nats`);
      position = frame.eased(position, k);
      chart.follow(curve, position);
      return !samples.draw(curve, position) || position !== k;
    };
  },
);
