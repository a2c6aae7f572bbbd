// The rate-distortion explorer: a slider over beta moves a dot along the curve, and samples morph.

import { checkbox, labelledSlider, SHAPES } from "../controls.js";
import {
  eased,
  element,
  imagePainter,
  MARKS,
  number,
  onDrag,
  openWidget,
  penOf,
  readout,
  rich,
  shape,
  throttled,
  withError,
} from "../frame.js";
import { decode, floatsOf, loadNetworks } from "../models/nn.js";
import { makeLabels, place, sign } from "../plot.js";
import { distance, LEFT, makeCurves, makePoint } from "../rate_distortion_chart.js";

/** @import { Curve, Frame2D, Looks, Mark } from "../rate_distortion_chart.js" */

// A family has its dash and a latent size its mark; without families each curve has its own of both.
/** @type {(curves: Curve[]) => Looks} */
function looksOf(curves) {
  const families = [...new Set(curves.flatMap(({ family }) => family || []))];
  const sizes = [...new Set(curves.flatMap(({ latent_dim: size }) => size || []))].sort((a, b) => a - b);
  const place = (/** @type {number} */ i, /** @type {number} */ own) => (families.length ? own : i);
  return {
    families,
    sizes,
    dash: (i) => DASHES_OF[place(i, families.indexOf(curves[i].family ?? "")) % DASHES_OF.length],
    mark: (i) => MARKS[SHAPES[place(i, sizes.indexOf(curves[i].latent_dim ?? 0)) % SHAPES.length]],
  };
}
const DASHES_OF = ["", "7 4", "2 3.5", "9 3 2 3", "4 2"];

// The samples, each above its reference.
/** @type {(w: Widget, networks: Record<string, Network>) => Samples} */
function makeSamples(w, networks) {
  const codes = floatsOf(w.get("codes"));
  const references = w.get("references").byteLength ? floatsOf(w.get("references")) : null;
  const [height, width] = w.get("image_shape");
  const canvas = element("canvas", { role: "img", "aria-label": "Decoded images" });
  const context = penOf(canvas, true);
  const paint = imagePainter(width, height);
  const caption = element("figcaption");
  w.side.append(element("figure", canvas, caption));
  const grow = Math.max(1, Math.round(128 / width));
  const tile = { w: width * grow, h: height * grow, gap: Math.round(0.09 * width * grow) };
  const small = { w: Math.round(tile.w / 2), h: Math.round(tile.h / 2), gap: Math.round(tile.gap / 4) };
  // Whole pixels only, so that no tile bleeds into the next.
  const step = { x: tile.w + tile.gap, y: tile.h + small.gap + small.h + tile.gap };
  let columns = 1;
  const corner = (/** @type {number} */ n) => [(n % columns) * step.x, Math.floor(n / columns) * step.y];

  /** @type {(curve: Curve, position: number, image: number) => Float32Array} */
  function decoded({ codes: at, beta, model }, position, image) {
    const { images, latent, start } = at ?? { images: 0, latent: 0, start: 0 };
    const low = Math.floor(position);
    const high = Math.min(low + 1, beta.length - 1);
    const z = new Float32Array(latent);
    for (let k = 0; k < latent; k++) {
      const a = codes[start + (low * images + image) * latent + k];
      const b = codes[start + (high * images + image) * latent + k];
      z[k] = a + (position - low) * (b - a);
    }
    return decode(networks[model].layers, z);
  }

  /** @type {Samples["arrange"]} */
  function arrange(curve) {
    canvas.style.display = curve.codes ? "" : "none";
    if (!curve.codes) {
      const says = `This page carries the curve of ${curve.label}, not its decoder`;
      caption.replaceChildren(`${says}: there are no samples to show.`);
      return;
    }
    const { images } = curve.codes;
    columns = [4, 5, 3, 6].find((c) => images % c === 0) ?? Math.min(4, images);
    canvas.width = columns * step.x - tile.gap;
    canvas.height = Math.ceil(images / columns) * step.y - tile.gap;
    for (let n = 0; n < images; n++) {
      const own = references?.subarray(n * width * height, (n + 1) * width * height);
      const [x, y] = corner(n);
      const left = x + Math.round((tile.w - small.w) / 2);
      const image = own ?? decoded(curve, curve.beta.length - 1, n);
      paint(context, image, left, y + tile.h + small.gap, small.w, small.h);
    }
    const below = references ? "the images *x* themselves" : "the same codes at the largest *\u03b2*";
    const large = "Large: samples *f*\u2009(*z*), *z* ~ *q*_*\u03b2*_\u2009(*z*\u2009|\u2009*x*)";
    caption.replaceChildren(...rich(`${large}. Small: ${below}.`));
  }
  /** @type {Samples["draw"]} */
  function draw(curve, position) {
    for (let n = 0; n < (curve.codes?.images ?? 0); n++) {
      const [x, y] = corner(n);
      paint(context, decoded(curve, position, n), x, y, tile.w, tile.h);
    }
  }
  return { canvas, arrange, draw };
}
/**
 * @typedef {{ canvas: Element, arrange(curve: Curve): void, draw(curve: Curve, position: number): void }}
 *   Samples
 */

/**
 * @typedef {{ value: string, words: string, dash: string | null, mark: Mark | null, act: () => void }} Choice
 */
// Radios with the looks of what they choose.
/** @type {(w: Widget, name: string, key: string, choices: Choice[]) => Row} */
function signedRadios(w, name, key, choices) {
  const all = choices.map(({ value, words, dash, mark, act }) => {
    const radio = element("input", { type: "radio", name: `${w.id}-${key}`, value });
    radio.addEventListener("change", act);
    const parts = [];
    if (dash !== null) parts.push(shape("path.dgm-rd-line", { d: "M1 7H33", "stroke-dasharray": dash }));
    if (mark) parts.push(shape("path.dgm-rd-marks", { d: mark(17, 7, 4) }));
    const icon = sign("", ...parts);
    return { radio, icon, label: element("label", radio, icon, words) };
  });
  const row = element(
    "div.dgm-row",
    { role: "radiogroup", "aria-label": name },
    ...all.map(({ label }) => label),
  );
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

/** @type {(betas: number[]) => HTMLElement[]} */
function decadeMarks(betas) {
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

/**
 * @type {(w: Widget, curves: Curve[], looks: Looks, choose: (i: number) => void, chosen: () => number) =>
 *   Controls}
 */
function makeControls(w, curves, { families, sizes, dash, mark }, choose, chosen) {
  // The family's curve whose latent size is nearest.
  const seek = (/** @type {string | undefined} */ family, size = 1) => {
    const off = curves.map((one) =>
      one.family === family ? Math.abs(Math.log((one.latent_dim ?? 1) / size)) : Infinity,
    );
    choose(off.indexOf(Math.min(...off)));
  };
  const models = curves.map((curve, i) => {
    return { value: curve.model, words: curve.label, dash: dash(i), mark: mark(i), act: () => choose(i) };
  });
  const byModel = signedRadios(w, "Model", "model", families.length ? [] : models);
  const kinds = families.map((family, j) => {
    const act = () => seek(family, curves[chosen()].latent_dim);
    return { value: family, words: family, dash: DASHES_OF[j % DASHES_OF.length], mark: null, act };
  });
  const byFamily = signedRadios(w, "Family", "family", kinds);
  const widths = sizes.map((size, j) => {
    const act = () => seek(curves[chosen()].family, size);
    return {
      value: String(size),
      words: String(size),
      dash: null,
      mark: MARKS[SHAPES[j % SHAPES.length]],
      act,
    };
  });
  const bySize = signedRadios(w, "Latent dimensions", "size", widths);
  byFamily.row.prepend(element("span", "Family"));
  bySize.row.prepend(element("span", "Latent size"));
  const log = checkbox(`${w.id}-log`, "logarithmic *D* axis", (on) => w.change({ log_distortion: on }));
  const range = { min: 0, step: 1 };
  const name = "*\u03b2*, nats per unit of squared error";
  const slider = labelledSlider(`${w.id}-beta`, name, range, (v) => w.change({ beta_index: v }));
  const decades = element("div.dgm-ticks", { "aria-hidden": "true" });
  slider.node.append(decades);
  const rows = families.length ? [byFamily.row, bySize.row] : [byModel.row];
  w.controls.append(slider.node, ...rows, element("div.dgm-row", log.node, w.reset));
  w.reset.addEventListener("click", () => w.change(w.first));
  /** @type {Controls["begin"]} */
  const begin = ({ model, family = "", latent_dim: size, beta }) => {
    byModel.show(model);
    byFamily.show(family);
    const possible = (/** @type {string} */ value) =>
      curves.some((one) => one.family === family && one.latent_dim === Number(value));
    bySize.show(String(size), possible);
    slider.input.max = String(beta.length - 1);
    decades.replaceChildren(...decadeMarks(beta));
  };
  /** @type {Controls["show"]} */
  const show = (k, shown, spoken) => {
    slider.show(k, shown, spoken);
    log.input.checked = w.get("log_distortion");
  };
  return { begin, show };
}
/** @typedef {{ begin(curve: Curve): void, show(k: number, shown: string, spoken: string): void }} Controls */

/** @type {(w: Widget, curves: Curve[]) => (curve: Curve, k: number) => void} */
function makeReadouts(w, curves) {
  const list = element("dl");
  const terms = ["Rate *R*", "Distortion *D*", "PSNR", "log *Z*"];
  const [rateOut, distortionOut, psnr, logZ] = terms.map((term) => readout(list, term));
  w.side.append(list);
  const known = curves.some((curve) => curve.rate_error || curve.log_z_error);
  if (known) w.side.append(element("p.dgm-small", "\u00b1 one standard error; bands: two."));
  const [height, width] = w.get("image_shape");
  const pixels = width * height;
  return (curve, k) => {
    const [rate, distortion, error] = [curve.rate[k], curve.distortion[k], curve.rate_error?.[k] ?? 0];
    const bits = (/** @type {number} */ per) => withError(rate / Math.LN2 / per, error / Math.LN2 / per);
    const small = [element("small", `${bits(1)} bits`), element("small", `${bits(pixels)} bits/pixel`)];
    rateOut.replaceChildren(`${withError(rate, error)} nats`, ...small);
    distortionOut.textContent = withError(distortion, curve.distortion_error?.[k] ?? 0);
    psnr.textContent = `${(-10 * Math.log10(distortion / pixels)).toFixed(1)} dB`.replace("-", "\u2212");
    logZ.textContent = `${withError(curve.log_z[k], curve.log_z_error?.[k] ?? 0)} nats`;
  };
}

// The dot can be dragged along its curve, too.
/** @type {(w: Widget, svg: SVGElement, scale: Frame2D, dot: Element, curve: () => Curve) => void} */
function followPointer(w, svg, scale, dot, curve) {
  onDrag(svg, [dot], (event) => {
    const box = svg.getBoundingClientRect();
    const { distortion, rate } = curve();
    const at = [event.clientX - box.left, event.clientY - box.top];
    const away = rate.map((r, k) => distance(at, [scale.px(distortion[k]), scale.py(r)]));
    w.change({ beta_index: away.indexOf(Math.min(...away)) });
  });
}

/** @type {(props: RenderProps) => Promise<() => void>} */
async function render(props) {
  const networks = await loadNetworks(props.model);
  /** @type {Curve[]} */
  const curves = props.model.get("curves");
  const other = curves[0].family ? " Then choose another family or latent size at the same \u03b2." : "";
  const w = openWidget(props, {
    names: ["model", "beta_index", "log_distortion"],
    hint: `drag \u03b2 to the right: prior samples turn into reconstructions, at the price of rate.${other}`,
    forms({ model }) {
      const { beta } = curves.find((curve) => curve.model === model) ?? curves[0];
      return { beta_index: { kind: "whole", key: "beta", values: beta } };
    },
  });
  const errors = curves.flatMap(({ model }) => networks[model]?.error ?? []);
  if (errors.length) w.root.dataset.goldenError = Math.max(...errors).toFixed(6);
  const chosen = () => curves.findIndex((curve) => curve.model === w.get("model"));
  /** Stays at the same beta as nearly as the other curve allows. @type {(i: number) => void} */
  const choose = (i) => {
    const beta = curves[chosen()].beta[w.get("beta_index")];
    const far = curves[i].beta.map((b) => Math.abs(Math.log((b + 1e-9) / (beta + 1e-9))));
    w.change({ model: curves[i].model, beta_index: far.indexOf(Math.min(...far)) });
  };
  const looks = looksOf(curves);
  const labels = makeLabels();
  const chart = makeCurves(w, curves, looks, labels);
  const { svg, scale } = chart;
  const point = makePoint(svg, scale, labels);
  const samples = makeSamples(w, networks);
  const controls = makeControls(w, curves, looks, choose, chosen);
  const showReadouts = makeReadouts(w, curves);
  const speak = throttled(w.status);
  let [shown, position] = [-1, Number(w.get("beta_index"))];

  /** @type {() => [Curve, number]} */
  function begin() {
    const i = chosen();
    const curve = curves[i];
    const k = Math.min(w.get("beta_index"), curve.beta.length - 1);
    if (shown === i) return [curve, k];
    [shown, position] = [i, k];
    samples.arrange(curve);
    controls.begin(curve);
    chart.choose(i);
    place(point.dot, { d: looks.mark(i)(0, 0, 6.5) });
    return [curve, k];
  }

  function draw() {
    const [curve, k] = begin();
    if (scale.w > 0 && scale.log !== w.get("log_distortion")) {
      chart.layout(scale.w + LEFT + 8, w.get("log_distortion"));
    }
    const beta = number(curve.beta[k]);
    const rate = number(curve.rate[k]);
    const says = `beta ${beta}, rate ${rate} nats, distortion ${number(curve.distortion[k])}`;
    controls.show(k, beta, says);
    showReadouts(curve, k);
    const images = `${curve.codes?.images} decoded images, ${curve.label}, beta ${beta}`;
    if (curve.codes) samples.canvas.setAttribute("aria-label", images);
    speak(`${curve.label}: ${says}, log Z ${number(curve.log_z[k])} nats`);
    position = eased(position, k);
    if (curve.codes) samples.draw(curve, position);
    if (scale.w > 0) point.draw(curve, position);
    return position !== k;
  }

  followPointer(w, svg, scale, point.dot, () => curves[chosen()]);
  const stop = w.start("dgm:rate-distortion", draw, {
    resized(width) {
      chart.layout(width, w.get("log_distortion"));
      w.ask();
    },
  });
  w.ask();
  return stop;
}

export default { render };
