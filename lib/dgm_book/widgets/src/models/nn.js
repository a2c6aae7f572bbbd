// A trained network in the page: bytes in, typed arrays out.

import { last } from "./arrays.js";

// One unpacked copy a page, though every widget is a module of its own.
const KEY = Symbol.for("dgm.weights");
const page = /** @type {{ [KEY]?: WeakMap<WidgetModel, unknown> }} */ (globalThis);

/** A copy: a buffer from a live kernel may start at an odd address. @type {(value: Bytes) => ArrayBuffer} */
export function bufferOf(value) {
  if (value instanceof ArrayBuffer) return value.slice(0);
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice().buffer;
}

export const floatsOf = (/** @type {Bytes} */ value) => new Float32Array(bufferOf(value));

/** Row by row; int8 is widened. @type {(buffer: ArrayBuffer, at: Tensor) => Float32Array} */
export function unpackTensor(buffer, { shape: [rows = 1, columns = 1], start, scale }) {
  if (scale === undefined || scale === null) return new Float32Array(buffer, start, rows * columns);
  const small = new Int8Array(buffer, start, rows * columns);
  const scales = new Float32Array(buffer, scale, rows);
  const wide = new Float32Array(rows * columns);
  for (let r = 0, i = 0; r < rows; r++) {
    for (const end = i + columns; i < end; i++) wide[i] = small[i] * scales[r];
  }
  return wide;
}

/** @type {(x: Float32Array, activation?: string) => void} */
function activate(x, activation) {
  if (activation === "tanh") for (let i = 0; i < x.length; i++) x[i] = Math.tanh(x[i]);
  else if (activation === "relu") for (let i = 0; i < x.length; i++) x[i] = Math.max(0, x[i]);
  else if (activation === "sigmoid") for (let i = 0; i < x.length; i++) x[i] = 1 / (1 + Math.exp(-x[i]));
}

/** The output is overwritten by the next call. @type {(layer: Layer, input: Float32Array) => Float32Array} */
export function applyLayer({ rows, columns, activation, weight, bias, output, multiply }, input) {
  if (multiply && columns % 16 === 0) {
    multiply(weight.byteOffset, input.byteOffset, bias.byteOffset, output.byteOffset, rows, 4 * columns);
    activate(output, activation);
    return output;
  }
  const whole = columns - (columns % 4);
  for (let r = 0, i = 0; r < rows; r++) {
    // Four sums that do not wait for each other.
    let [a, b, c, d, k] = [bias[r], 0, 0, 0, 0];
    for (; k < whole; k += 4, i += 4) {
      a += weight[i] * input[k];
      b += weight[i + 1] * input[k + 1];
      c += weight[i + 2] * input[k + 2];
      d += weight[i + 3] * input[k + 3];
    }
    for (; k < columns; k++, i++) a += weight[i] * input[k];
    output[r] = a + b + (c + d);
  }
  activate(output, activation);
  return output;
}

/** @type {(layers: Layer[], z: Float32Array) => Float32Array} */
export const decode = (layers, z) => layers.reduce((input, layer) => applyLayer(layer, input), z);

// The largest difference; NaN stays, so that a broken network shows.
export function farthest(/** @type {Floats} */ a, /** @type {Floats} */ b) {
  let worst = 0;
  for (let i = 0; i < b.length; i++) worst = Math.max(worst, Math.abs(a[i] - b[i]));
  return worst;
}

/** @type {(buffer: ArrayBuffer, layers: Layer[], at: { count: number, z: number, x: number }) => number} */
function goldenError(buffer, layers, { count, z, x }) {
  const [inputs, outputs] = [layers[0].columns, last(layers).rows];
  let worst = 0;
  for (let g = 0; g < count; g++) {
    const computed = decode(layers, new Float32Array(buffer, z + 4 * g * inputs, inputs));
    worst = Math.max(worst, farthest(computed, new Float32Array(buffer, x + 4 * g * outputs, outputs)));
  }
  return worst;
}

export function unpackWeights(/** @type {WidgetModel} */ weights) {
  const buffer = bufferOf(weights.get("data"));
  const networks = Object.entries(/** @type {Record<string, NetworkAt>} */ (weights.get("header")));
  const unpacked = networks.map(([name, { layers: places, golden }]) => {
    const layers = places.map(({ rows, columns, activation, weight, scale, bias }) => ({
      rows,
      columns,
      activation,
      weight: unpackTensor(buffer, { shape: [rows, columns], start: weight, scale }),
      bias: new Float32Array(buffer, bias, rows),
      output: new Float32Array(rows),
    }));
    const error = golden ? goldenError(buffer, layers, golden) : null;
    return [name, { layers, inputs: layers[0].columns, outputs: last(layers).rows, error }];
  });
  return Object.fromEntries(unpacked);
}

/** A model that a trait refers to. @type {(model: WidgetModel, reference: any) => Promise<WidgetModel>} */
export const referenced = async (model, reference) =>
  typeof reference === "string"
    ? model.widget_manager.get_model(reference.replace("IPY_MODEL_", ""))
    : reference;

// What the trait `weights` holds, unpacked once a page.
/** @type {<T>(model: WidgetModel, unpack: (weights: WidgetModel) => T) => Promise<T>} */
export async function loadShared(model, unpack) {
  const weights = await referenced(model, model.get("weights"));
  page[KEY] ??= new WeakMap();
  if (!page[KEY].has(weights)) page[KEY].set(weights, unpack(weights));
  return /** @type {ReturnType<typeof unpack>} */ (page[KEY].get(weights));
}

export const loadNetworks = (/** @type {WidgetModel} */ model) => loadShared(model, unpackWeights);

/** @typedef {{ layers: LayerAt[], golden?: { count: number, z: number, x: number } }} NetworkAt */
