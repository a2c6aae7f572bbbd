// How favourable a sentence is, from 0 to 4; as in dgm.nets.graded_reader.

import { blockOf, everywhere, linearOf, normOf, roomOf, softmax } from "./transformer.js";

/** @type {(t: Arrays, tensors: Tensors, sizes: RewriterSizes) => { value(ids: number[]): number }} */
export function gradedReader(t, tensors, sizes) {
  const { width, heads, places } = sizes;
  const room = roomOf(tensors, places);
  const x = room.take(width * places);
  const layers = Array.from({ length: sizes.encoder_layers }, (_, i) =>
    blockOf(t, `layers.${i}`, sizes, room, places),
  );
  const norm = normOf(t["norm.weight"], t["norm.bias"], room, places);
  const attention = linearOf(t["attention.weight"], t["attention.bias"], width, room, places);
  const { "embedding.weight": embedding, "places.weight": place } = t;

  function value(/** @type {number[]} */ ids) {
    const n = Math.min(ids.length, places);
    for (let s = 0; s < n; s++)
      for (let k = 0; k < width; k++) x[s * width + k] = embedding[ids[s] * width + k] + place[s * width + k];
    const [memory, paths] = [new Float32Array(2 * n * width), everywhere(n, n)];
    for (const layer of layers) layer.forward(x, memory, 0, paths);
    const states = norm(x, n);
    const asked = attention.apply(states, n);
    let sum = 2 + t["output.bias"][0];
    for (let h = 0; h < heads; h++) {
      const shares = Float64Array.from({ length: n }, (_, s) => asked[s * attention.rows + h]);
      softmax(shares, n);
      for (let s = 0; s < n; s++)
        for (let k = 0; k < width; k++)
          sum += shares[s] * states[s * width + k] * t["output.weight"][h * width + k];
    }
    return sum;
  }

  return { value };
}
