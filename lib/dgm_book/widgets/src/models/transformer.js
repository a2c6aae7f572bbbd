// Layers of transformers in the page, for several rows at once; as in dgm.nets.copying.

import { roomFor } from "./lstm.js";

// A WebAssembly function f(w, x, b, o, rows, bytes, n): n rows of o = W x + b, four of W's rows at a time,
// which stay in the cache while all x pass. In its text form, with rows a multiple of 4 and bytes of 16,
//   loop $block  loop $input  p = q = r = s = 0, i = 0
//     loop $k  v = x[i]  p += v w[i]  q += v w[bytes + i]  r += v w[2 bytes + i]  s += v w[3 bytes + i]
//              br_if $k (i += 16) < bytes
//     store o = load b + (sum p, sum q, sum r, sum s)  x += bytes  o += 4 rows  br_if $input (n -= 1)
//   w += 4 bytes  b += 16  o += 16  br_if $block (rows -= 4)
const MATRIX_PRODUCT =
  "AGFzbQEAAAABCwFgB39/f39/f38AAggBAW0BbQIAAQMCAQAHBQEBZgAACs4DAcsDAgh/BXsgBCELA0AgACAFaiEMIAwgBWohDSANIAVq" +
  "IQ4gASEIIAMhCSAGIQoDQP0MAAAAAAAAAAAAAAAAAAAAACEP/QwAAAAAAAAAAAAAAAAAAAAAIRD9DAAAAAAAAAAAAAAAAAAAAAAhEf0M" +
  "AAAAAAAAAAAAAAAAAAAAACESQQAhBwNAIAggB2r9AAQAIRMgDyATIAAgB2r9AAQA/eYB/eQBIQ8gECATIAwgB2r9AAQA/eYB/eQBIRAg" +
  "ESATIA0gB2r9AAQA/eYB/eQBIREgEiATIA4gB2r9AAQA/eYB/eQBIRIgB0EQaiIHIAVJDQALIA8gEP0NAAECAxAREhMEBQYHFBUWFyAP" +
  "IBD9DQgJCgsYGRobDA0ODxwdHh/95AEhEyARIBL9DQABAgMQERITBAUGBxQVFhcgESAS/Q0ICQoLGBkaGwwNDg8cHR4f/eQBIQ8gCSAC" +
  "/QAEACATIA/9DQABAgMEBQYHEBESExQVFhcgEyAP/Q0ICQoLDA0ODxgZGhscHR4f/eQB/eQB/QsEACAIIAVqIQggCSAEQQJ0aiEJIApB" +
  "AWsiCg0ACyAOIAVqIQAgAkEQaiECIANBEGohAyALQQRrIgsNAAsL";

const EPSILON = 1e-5; // of layer norms, as PyTorch's
const [GELU_END, GELU_STEPS] = [6, 64]; // the normal distribution's table, and its steps per unit

const padded = (/** @type {number} */ rows) => 4 * Math.ceil(rows / 4);

/** Room for the layers of these tensors with `most` rows. @type {(tensors: Tensors, most: number) => Room} */
export function roomOf(tensors, most) {
  let floats = 1024;
  for (const { shape } of Object.values(tensors)) {
    const [rows, columns = 1] = shape;
    floats += padded(rows) * (columns + most + 1) + most * padded(columns) + 64;
  }
  return roomFor(floats, MATRIX_PRODUCT);
}

/** W x + b for up to `most` x at once. @type {(...of: LinearParts) => Linear} */
export function linearOf(weight, bias, columns, { take, multiply }, most) {
  const rows = padded(weight.length / columns);
  const [w, b, output] = [take(rows * columns, weight), take(rows, bias), take(rows * most)];
  const fast = columns % 4 ? undefined : multiply;
  /** @type {Linear["apply"]} */
  const apply = (x, n) => {
    if (fast) fast(w.byteOffset, x.byteOffset, b.byteOffset, output.byteOffset, rows, 4 * columns, n);
    else
      for (let i = 0; i < n; i++)
        plainProduct(w, x.subarray(i * columns), b, output.subarray(i * rows), rows);
    return output;
  };
  return { rows, columns, apply };
}

/** @type {(w: Float32Array, x: Float32Array, b: Float32Array, o: Float32Array, rows: number) => void} */
function plainProduct(w, x, b, o, rows) {
  const columns = w.length / rows;
  for (let r = 0, i = 0; r < rows; r++) {
    let sum = b[r];
    for (let k = 0; k < columns; k++, i++) sum += w[i] * x[k];
    o[r] = sum;
  }
}

/** @type {(gain: Float32Array, shift: Float32Array, room: Room, most: number) => Linear["apply"]} */
export function normOf(gain, shift, { take }, most) {
  const width = gain.length;
  const output = take(width * most);
  return (x, n) => {
    for (let i = 0; i < n * width; i += width) {
      let [mean, variance] = [0, 0];
      for (let k = 0; k < width; k++) mean += x[i + k] / width;
      for (let k = 0; k < width; k++) variance += (x[i + k] - mean) ** 2 / width;
      const scale = 1 / Math.sqrt(variance + EPSILON);
      for (let k = 0; k < width; k++) output[i + k] = (x[i + k] - mean) * scale * gain[k] + shift[k];
    }
    return output;
  };
}

// The normal distribution and its density at multiples of a step, by Simpson's rule.
const [NORMAL, DENSITY] = (() => {
  const [h, length] = [1 / GELU_STEPS, 2 * GELU_END * GELU_STEPS + 1];
  const density = (/** @type {number} */ x) => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
  const at = Float64Array.from({ length }, (_, i) => density(i * h - GELU_END));
  const normal = new Float64Array(length);
  for (let i = 1; i < length; i++) {
    const middle = density((i - 0.5) * h - GELU_END);
    normal[i] = normal[i - 1] + (h / 6) * (at[i - 1] + 4 * middle + at[i]);
  }
  return [normal, at];
})();

/** x times the normal distribution at x: cubic between the table's values. @type {(x: number) => number} */
export function gelu(x) {
  if (x <= -GELU_END) return 0;
  if (x >= GELU_END) return x;
  const place = (x + GELU_END) * GELU_STEPS;
  const i = Math.floor(place);
  const [t, rise] = [place - i, NORMAL[i + 1] - NORMAL[i]];
  const [a, b] = [DENSITY[i] / GELU_STEPS - rise, rise - DENSITY[i + 1] / GELU_STEPS];
  return x * (NORMAL[i] + t * rise + t * (1 - t) * ((1 - t) * a + t * b));
}

/** Softmax of the first n values, in place; their log of the sum. @type {(x: Floats, n: number) => number} */
export function softmax(x, n) {
  let [top, sum] = [-Infinity, 0];
  for (let i = 0; i < n; i++) if (x[i] > top) top = x[i];
  for (let i = 0; i < n; i++) sum += x[i] = Math.exp(x[i] - top);
  for (let i = 0; i < n; i++) x[i] /= sum;
  return top + Math.log(sum);
}

const shares = new Float64Array(256);

// Row i of the queries attends to the rows paths[i] of a memory, whose rows are keys, then values.
/** @type {(...of: AttendParts) => void} */
function attend(queries, heads, memory, paths, out) {
  const width = out.length / paths.length;
  const size = width / heads;
  for (let i = 0; i < paths.length; i++) {
    const [path, length] = [paths[i], paths[i].length];
    for (let start = 0; start < width; start += size) {
      const from = i * width + start;
      for (let s = 0; s < length; s++) {
        let [sum, key] = [0, 2 * width * path[s] + start];
        for (let k = from; k < from + size; k++, key++) sum += queries[k] * memory[key];
        shares[s] = sum / Math.sqrt(size);
      }
      softmax(shares, length);
      for (let k = 0; k < size; k++) {
        let sum = 0;
        for (let s = 0; s < length; s++) sum += shares[s] * memory[2 * width * path[s] + width + start + k];
        out[from + k] = sum;
      }
    }
  }
}

/** @type {(x: Float32Array, y: Float32Array, n: number) => void} */
function add(x, y, n) {
  for (let i = 0; i < n; i++) x[i] += y[i];
}

/** A layer of an encoder, or of a decoder. @type {(...of: BlockParts) => Block} */
export function blockOf(t, name, { width, heads, inner }, room, most) {
  /** @type {(part: string, columns?: number) => Linear} */
  const linear = (part, columns = width) =>
    linearOf(t[`${name}.${part}.weight`], t[`${name}.${part}.bias`], columns, room, most);
  /** @type {(part: string) => Linear["apply"]} */
  const norm = (part) => normOf(t[`${name}.${part}.weight`], t[`${name}.${part}.bias`], room, most);
  const attention = (/** @type {string} */ part) => ({
    norm: norm(`${part}_norm`),
    query: linear(`${part}.query`),
    memory: linear(`${part}.memory`),
    output: linear(`${part}.output`),
  });
  const own = attention("own");
  const cross = `${name}.cross_norm.weight` in t ? attention("cross") : null;
  const [denseNorm, widen, narrow] = [norm("dense_norm"), linear("inner"), linear("outer", inner)];
  const attended = room.take(width * most);

  /** @type {(part: typeof own, ...of: [x: Float32Array, ...ReadParts]) => void} */
  function read(part, x, y, memory, paths) {
    const n = paths.length;
    attend(part.query.apply(y, n), heads, memory, paths, attended.subarray(0, n * width));
    add(x, part.output.apply(attended, n), n * width);
  }

  return {
    remember: (x, n) => (cross ?? own).memory.apply(x, n).slice(0, 2 * n * width),
    forward(x, memory, start, paths, source, sourcePaths) {
      const n = paths.length;
      const y = own.norm(x, n);
      memory.set(own.memory.apply(y, n).subarray(0, 2 * n * width), 2 * start * width);
      read(own, x, y, memory, paths);
      if (cross && source && sourcePaths) read(cross, x, cross.norm(x, n), source, sourcePaths);
      const wide = widen.apply(denseNorm(x, n), n);
      for (let i = 0; i < n * inner; i++) wide[i] = gelu(wide[i]);
      add(x, narrow.apply(wide, n), n * width);
    },
  };
}

/** The rows 0 to n - 1, for each of so many rows. @type {(n: number, times: number) => Paths} */
export function everywhere(n, times) {
  const path = Array.from({ length: n }, (_, s) => s);
  return Array.from({ length: times }, () => path);
}
