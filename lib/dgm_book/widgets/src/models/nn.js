// A trained network in the page: bytes in, typed arrays out.

// One unpacked copy a page, though every widget is a module of its own.
const unpackedWeights = (globalThis[Symbol.for("dgm.weights")] ??= new WeakMap());

export function bytesOf(value) {
  // A copy: a buffer from a live kernel may start at an odd address.
  return new Uint8Array(value.buffer ?? value, value.byteOffset ?? 0, value.byteLength).slice();
}

export function floatsOf(value) {
  return new Float32Array(bytesOf(value).buffer);
}

export function unpackLayer(buffer, { rows, columns, activation, weight, scale, bias }) {
  const small = new Int8Array(buffer, weight, rows * columns);
  const scales = new Float32Array(buffer, scale, rows);
  const wide = new Float32Array(rows * columns);
  for (let r = 0, i = 0; r < rows; r++) {
    for (const end = i + columns; i < end; i++) wide[i] = small[i] * scales[r];
  }
  const biases = new Float32Array(buffer, bias, rows);
  return { rows, columns, activation, weight: wide, bias: biases, output: new Float32Array(rows) };
}

function activate(x, activation) {
  if (activation === "tanh") for (let i = 0; i < x.length; i++) x[i] = Math.tanh(x[i]);
  else if (activation === "relu") for (let i = 0; i < x.length; i++) x[i] = Math.max(0, x[i]);
  else if (activation === "sigmoid") for (let i = 0; i < x.length; i++) x[i] = 1 / (1 + Math.exp(-x[i]));
}

export function applyLayer({ rows, columns, activation, weight, bias, output, multiply }, input) {
  if (multiply && columns % 16 === 0) {
    multiply(weight.byteOffset, input.byteOffset, bias.byteOffset, output.byteOffset, rows, 4 * columns);
    activate(output, activation);
    return output;
  }
  const whole = columns - (columns % 4);
  for (let r = 0, i = 0; r < rows; r++) {
    // Four sums that do not wait for each other.
    let a = bias[r], b = 0, c = 0, d = 0, k = 0;
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

// The result is overwritten by the next call.
export function decode(layers, z) {
  return layers.reduce((input, layer) => applyLayer(layer, input), z);
}

function goldenError(buffer, layers, { count, z, x }) {
  const inputs = layers[0].columns;
  const outputs = layers.at(-1).rows;
  let worst = 0;
  for (let g = 0; g < count; g++) {
    const made = decode(layers, new Float32Array(buffer, z + 4 * g * inputs, inputs));
    const told = new Float32Array(buffer, x + 4 * g * outputs, outputs);
    // Math.max lets NaN through, so that a broken network shows.
    for (let i = 0; i < outputs; i++) worst = Math.max(worst, Math.abs(made[i] - told[i]));
  }
  return worst;
}

function unpackWeights(weights) {
  const buffer = bytesOf(weights.get("data")).buffer;
  const networks = {};
  for (const [name, { layers, golden }] of Object.entries(weights.get("header"))) {
    const unpacked = layers.map((layer) => unpackLayer(buffer, layer));
    const error = golden ? goldenError(buffer, unpacked, golden) : null;
    networks[name] = { layers: unpacked, inputs: unpacked[0].columns, outputs: unpacked.at(-1).rows, error };
  }
  return networks;
}

// What `weights` holds, unpacked once a page.
export async function loadShared(model, unpack) {
  const reference = model.get("weights");
  const weights =
    typeof reference === "string"
      ? await model.widget_manager.get_model(reference.replace("IPY_MODEL_", ""))
      : reference;
  if (!unpackedWeights.has(weights)) unpackedWeights.set(weights, unpack(weights));
  return unpackedWeights.get(weights);
}

export const loadNetworks = (model) => loadShared(model, unpackWeights);
