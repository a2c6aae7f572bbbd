// An LSTM in the page, and a faster matrix product for large layers.

import { applyLayer } from "./nn.js";

// A WebAssembly function f(w, x, b, o, rows, bytes): o = W x + b, sixteen products at a time. In its text
// form
//   loop $row  p = (load b, 0, 0, 0), q = r = s = 0, i = 0
//     loop $k  p += w[0..3] x[i..]  q += w[4..7] x[i + 4..]  r += ...  s += ...  w += 64
//              br_if $k (i += 64) < bytes
//     store o = the sum over p + q + r + s  b += 4  o += 4  br_if $row (rows -= 1)
const MATVEC =
  "AGFzbQEAAAABCgFgBn9/f39/fwACCAEBbQFtAgABAwIBAAcFAQFmAAAKqgIBpwICAX8EewNA/QwAAAAAAAAAAAAAAAAAAAAAIAIq" +
  "AgD9IAAhB/0MAAAAAAAAAAAAAAAAAAAAACEI/QwAAAAAAAAAAAAAAAAAAAAAIQn9DAAAAAAAAAAAAAAAAAAAAAAhCkEAIQYDQCAH" +
  "IAD9AAQAIAEgBmr9AAQA/eYB/eQBIQcgCCAA/QAEECABIAZq/QAEEP3mAf3kASEIIAkgAP0ABCAgASAGav0ABCD95gH95AEhCSAK" +
  "IAD9AAQwIAEgBmr9AAQw/eYB/eQBIQogAEHAAGohACAGQcAAaiIGIAVJDQALIAcgCP3kASAJIAr95AH95AEhByADIAf9HwAgB/0f" +
  "AZIgB/0fAiAH/R8DkpI4AgAgAkEEaiECIANBBGohAyAEQQFrIgQNAAsL";

// Room for so many floats, from which take(n, values) cuts arrays. Layers whose arrays all come from here and
// have the room's multiply are several times as fast; where WebAssembly is not to be had it is undefined.
/** @type {(floats: number, product: string) => Room} */
export function roomWith(floats, product) {
  /** @type {Room["take"]} */
  const plain = (n, values) => (values ? Float32Array.from(values) : new Float32Array(n));
  try {
    const memory = new WebAssembly.Memory({ initial: Math.ceil(floats / 16384) });
    const code = Uint8Array.from(atob(product), (c) => c.charCodeAt(0));
    const { f, e } = new WebAssembly.Instance(new WebAssembly.Module(code), { m: { m: memory } }).exports;
    let used = 0;
    /** @type {Room["take"]} */
    const take = (n, values) => {
      const cut = new Float32Array(memory.buffer, used, n);
      if (values) cut.set(values);
      used += 16 * Math.ceil(n / 4);
      return cut;
    };
    return { take, multiply: /** @type {Multiply} */ (f), sumExp: /** @type {Room["sumExp"]} */ (e) };
  } catch {
    return { take: plain };
  }
}
export const roomFor = (/** @type {number} */ floats) => roomWith(floats, MATVEC);

// Floats for tensors, and more than the inputs and outputs of their layers take.
export const sizeOf = (/** @type {Tensors} */ tensors) =>
  Object.values(tensors).reduce(
    (sum, { shape: [rows = 1, columns = 1] }) => sum + rows * columns + 2 * (rows + columns) + 64,
    0,
  );

/** @type {(weight: Float32Array, bias: Float32Array, room: Room, activation?: string) => Layer} */
export function layerIn(weight, bias, { take, multiply }, activation = "linear") {
  const rows = bias.length;
  return { rows, columns: weight.length / rows, activation, weight, bias, output: take(rows), multiply };
}

// An LSTM of one layer and H units, gates in the order input, forget, cell, output; its four arrays by name.
/** @type {(arrayOf: (name: string) => Float32Array, room: Room) => Cell} */
export function lstmCell(arrayOf, room) {
  const fromInput = layerIn(arrayOf("weight_ih"), arrayOf("bias_ih"), room);
  const fromHidden = layerIn(arrayOf("weight_hh"), arrayOf("bias_hh"), room);
  const hidden = fromHidden.columns;
  return { fromInput, fromHidden, h: room.take(hidden), c: room.take(hidden) };
}

export function clearCell(/** @type {Cell} */ { h, c }) {
  h.fill(0);
  c.fill(0);
}

/** One step: h and c are overwritten. @type {(cell: Cell, x: Float32Array) => void} */
export function stepLSTM({ fromInput, fromHidden, h, c }, x) {
  const a = applyLayer(fromInput, x);
  const b = applyLayer(fromHidden, h);
  const H = h.length;
  for (let i = 0; i < H; i++) {
    const open = 1 / (1 + Math.exp(-a[i] - b[i]));
    const keep = 1 / (1 + Math.exp(-a[H + i] - b[H + i]));
    const tell = 1 / (1 + Math.exp(-a[3 * H + i] - b[3 * H + i]));
    c[i] = keep * c[i] + open * Math.tanh(a[2 * H + i] + b[2 * H + i]);
    h[i] = tell * Math.tanh(c[i]);
  }
}
