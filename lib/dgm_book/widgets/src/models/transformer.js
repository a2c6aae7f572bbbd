// Layers of transformers in the page, for several rows at once; as in dgm.nets.copying.

import { roomWith } from "./lstm.js";

// Two WebAssembly functions. f(w, x, b, o, bytes of b, bytes of x, n): n rows of o = W x + b, sixteen of W's
// rows with two x at a time; W lies by sixteen rows, and in these by columns. In its text form
//   loop $block  loop $input  p0..p3, q0..q3 = load b, k = w
//     loop $k  u = splat x[i], v = splat x[i + bytes]  s = load k[16 j]  pj += s u  qj += s v  k += 64
//              br_if $k (i += 4) < end of this x
//     store o = p0..p3, q0..q3  br_if $input (n -= 2) > 0
//   w = k  b += 64  o += 64  br_if $block o < end
// e(x, end, top) sums exp(x - top) = 2^(r + f), r as bits of the exponent, 2^f a polynomial within 1e-7, by
//   t = max(x - top, -87) / log 2, r = t + 1.5 * 2^23, f = t - (r - 1.5 * 2^23), s += (r << 23) + bits of 2^f
const PRODUCTS =
  "AGFzbQEAAAABEgJgB39/f39/f38AYAN/f30BfQIIAQFtAW0CAAEDAwIAAQcJAgFmAAABZQABCtwEAoYDAgZ/C3sgAyAEaiELA0AgASEH" +
  "IAMhCSAGIQoDQCAC/QAEACIUIRAgAv0ABBAiFSERIAL9AAQgIhYhEiAC/QAEMCIXIRMgACEMIAcgBWohCANAIAf9CQIAIQ0gByAFav0J" +
  "AgAhDiAM/QAEACEPIBAgDyAN/eYB/eQBIRAgFCAPIA795gH95AEhFCAM/QAEECEPIBEgDyAN/eYB/eQBIREgFSAPIA795gH95AEhFSAM" +
  "/QAEICEPIBIgDyAN/eYB/eQBIRIgFiAPIA795gH95AEhFiAM/QAEMCEPIBMgDyAN/eYB/eQBIRMgFyAPIA795gH95AEhFyAMQcAAaiEM" +
  "IAdBBGoiByAISQ0ACyAJIBD9CwQAIAkgEf0LBBAgCSAS/QsEICAJIBP9CwQwIAkgBGohCSAJIBT9CwQAIAkgFf0LBBAgCSAW/QsEICAJ" +
  "IBf9CwQwIAkgBGohCSAIIAVqIQcgCkECayIKQQBKDQALIAwhACACQcAAaiECIANBwABqIgMgC0kNAAsL0QEBA3sDQCAA/QAEACAC/RP9" +
  "5QFDAACuwv0T/esBQzuquD/9E/3mASEDIANDAABAS/0T/eQBIQQgAyAEQwAAQEv9E/3lAf3lASEDIAUgBEEX/asBQwEAgD/9EyADQxRy" +
  "MT/9EyADQ4z8dT79EyADQ3JbYz39EyADQymGHjz9EyADQ3MErjr9E/3mAf3kAf3mAf3kAf3mAf3kAf3mAf3kAf3mAf3kAf2uAf3kASEF" +
  "IABBEGoiACABSQ0ACyAF/R8AIAX9HwGSIAX9HwIgBf0fA5KSCw==";

const EPSILON = 1e-5; // of layer norms, as PyTorch's
const [GELU_END, GELU_STEPS] = [6, 64]; // the normal distribution's table, and its steps per unit

const padded = (/** @type {number} */ rows) => 16 * Math.ceil(rows / 16);

/** Room for the layers of these tensors with `most` rows. @type {(tensors: Tensors, most: number) => Room} */
export function roomOf(tensors, most) {
  let floats = 1024;
  for (const { shape } of Object.values(tensors)) {
    const [rows, columns = 1] = shape;
    floats += padded(rows) * (columns + most + 2) + most * padded(columns) + 64;
  }
  return roomWith(floats, PRODUCTS);
}

/** W x + b for up to `most` x at once, as many rows as b has. @type {(...of: LinearParts) => Linear} */
export function linearOf(weight, bias, columns, { take, multiply }, most) {
  const rows = bias.length;
  const [w, b, output] = [take(rows * columns), take(rows, bias), take(rows * (most + 1))];
  const fast = rows % 16 ? undefined : multiply;
  if (!fast) w.set(weight);
  else
    for (let i = 0, r = 0; i < weight.length; r++)
      for (let k = (r - (r % 16)) * columns + (r % 16), n = 0; n < columns; n++, k += 16) w[k] = weight[i++];
  /** @type {Linear["apply"]} */
  const apply = (x, n) => {
    if (fast) fast(w.byteOffset, x.byteOffset, b.byteOffset, output.byteOffset, 4 * rows, 4 * columns, n);
    else
      for (let i = 0; i < n; i++)
        plainProduct(w, x.subarray(i * columns), b, output.subarray(i * rows), rows);
    return output;
  };
  return { rows, columns, apply };
}

/** The log of a sum of exponentials. @type {(x: Float32Array, room: Room) => number} */
export function logSumExp(x, { sumExp }) {
  let [top, sum] = [-Infinity, 0];
  for (let i = 0; i < x.length; i++) if (x[i] > top) top = x[i];
  if (sumExp) sum = sumExp(x.byteOffset, x.byteOffset + x.byteLength, top);
  else for (let i = 0; i < x.length; i++) sum += Math.exp(x[i] - top);
  return top + Math.log(sum);
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
      for (let k = i; k < i + width; k++) mean += x[k];
      mean /= width;
      for (let k = i; k < i + width; k++) variance += (x[k] - mean) * (x[k] - mean);
      const scale = 1 / Math.sqrt(variance / width + EPSILON);
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
  if (!(x > -GELU_END && x < GELU_END)) return Math.max(0, x);
  const place = (x + GELU_END) * GELU_STEPS;
  const i = Math.floor(place);
  const t = place - i;
  const rise = NORMAL[i + 1] - NORMAL[i];
  const bend = (1 - t) * (DENSITY[i] / GELU_STEPS - rise) + t * (rise - DENSITY[i + 1] / GELU_STEPS);
  return x * (NORMAL[i] + t * rise + t * (1 - t) * bend);
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
  out.fill(0);
  for (let i = 0; i < paths.length; i++) {
    const [path, length] = [paths[i], paths[i].length];
    for (let from = i * width, start = 0; start < width; start += size, from += size) {
      for (let s = 0; s < length; s++) {
        const key = 2 * width * path[s] + start;
        let sum = 0;
        for (let k = 0; k < size; k++) sum += queries[from + k] * memory[key + k];
        shares[s] = sum / Math.sqrt(size);
      }
      softmax(shares, length);
      for (let s = 0; s < length; s++) {
        const value = 2 * width * path[s] + width + start;
        for (let k = 0; k < size; k++) out[from + k] += shares[s] * memory[value + k];
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
