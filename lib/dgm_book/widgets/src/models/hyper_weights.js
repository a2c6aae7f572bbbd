// Recurrent networks as hyper_weights.py sends them, and how far they are off their golden values.

import { last } from "./arrays.js";
import { hyperFilter } from "./hyper_rnn.js";
import { bufferOf, loadShared, unpackTensor } from "./nn.js";

export function unpackHyper(/** @type {WidgetModel} */ weights) {
  const buffer = bufferOf(weights.get("data"));
  const headers = /** @type {HyperHeader[]} */ (weights.get("header").models);
  const nets = Object.fromEntries(headers.map((header) => [header.name, hyperNet(header, buffer)]));
  const golden = Object.fromEntries(headers.map((header) => [header.name, header.golden]));
  /** @type {(name: string) => number | null} */
  const goldenError = (name) => (golden[name] ? hyperGoldenError(nets[name], golden[name], buffer) : null);
  return { names: Object.keys(nets), nets, goldenError };
}

export const loadHyper = (/** @type {WidgetModel} */ model) => loadShared(model, unpackHyper);

const product = (/** @type {number[]} */ values) => values.reduce((a, b) => a * b, 1);

/** @type {(buffer: ArrayBuffer, at: Tensor) => Float64Array} */
const doublesOf = (buffer, at) => Float64Array.from(unpackTensor(buffer, at));

/** @type {(header: HyperHeader, buffer: ArrayBuffer) => HyperNet} */
function hyperNet({ name, kind, emission, hyper_input: fed, sigma_min: least, sizes, tensors }, buffer) {
  const layer = (/** @type {string} */ key, biasKey = "") => {
    const [rows, columns] = tensors[key].shape;
    const weight = doublesOf(buffer, tensors[key]);
    const bias = tensors[biasKey] ? doublesOf(buffer, tensors[biasKey]) : new Float64Array(rows);
    return { rows, columns, weight, bias, output: new Float64Array(rows) };
  };
  const perceptron = (/** @type {string} */ part) => {
    const places = Object.keys(tensors).filter(
      (key) => key.startsWith(`${part}.`) && key.endsWith(".weight"),
    );
    places.sort((a, b) => Number(a.split(".")[1]) - Number(b.split(".")[1]));
    return places.map((key) => layer(key, key.replace(/weight$/, "bias")));
  };
  const names = ["encode_x", "encode_z", "prior", "posterior", "decoder"];
  const hyper = kind === "vhrnn" && {
    input: layer("hyper.weight_input", "hyper.bias"),
    hidden: layer("hyper.weight_hidden"),
    heads: layer("heads.weight", "heads.bias"),
    rescale: perceptron("rescale"),
    from: fed === "hidden" ? sizes.z : 0,
  };
  return {
    name,
    kind,
    emission,
    sizes,
    least,
    parts: Object.fromEntries(names.map((part) => [part, perceptron(part)])),
    cell: { input: layer("cell.weight_input", "cell.bias"), hidden: layer("cell.weight_hidden") },
    hyper: hyper || undefined,
    scales: hyper ? hyper.heads.rows + last(hyper.rescale).rows : 0,
    inputMean: doublesOf(buffer, tensors.input_mean),
  };
}

// How far the page is off at most, of numbers of about one; larger ones by their share.
/** @type {(net: HyperNet, places: Tensors, buffer: ArrayBuffer) => number} */
function hyperGoldenError(net, places, buffer) {
  const golden = Object.fromEntries(
    Object.entries(places).map(([key, at]) => [key, new Float32Array(buffer, at.start, product(at.shape))]),
  );
  const [steps, N] = places.noise.shape;
  const filter = hyperFilter(net, N);
  let worst = 0;
  /** @type {(key: string, values: Float64Array, t: number) => void} */
  const compare = (key, values, t) => {
    if (!golden[key]) return;
    const wide = golden[key].length / steps / N;
    for (let n = 0; n < N; n++) {
      for (let i = 0; i < wide; i++) {
        const expected = golden[key][(t * N + n) * wide + i];
        const off = Math.abs(values[n * (values.length / N) + i] - expected) / (1 + Math.abs(expected));
        worst = Math.max(worst, off); // which lets NaN through
      }
    }
  };
  const { x: X, z: Z } = net.sizes;
  for (let t = 0; t < steps; t++) {
    const x = golden.x.subarray(t * X, (t + 1) * X);
    filter.step(x, golden.noise.subarray(t * N * Z, (t + 1) * N * Z));
    const { z, logAlpha, kl, expected, spread, scales, state } = filter;
    const own = { z, log_alpha: logAlpha, kl, mean_x: expected, deviation_x: spread, scales, h: state.h };
    for (const [key, values] of Object.entries(own)) if (values.length) compare(key, values, t);
  }
  return worst;
}
