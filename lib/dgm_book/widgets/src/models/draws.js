// Random numbers: Mulberry32, Box and Muller, and those that only a seed and their place decide, as in
// hyper_weights.py.

export const STRIDE = 0x6d2b79f5;

/** Mulberry32's number in [0, 1) of a state, which ascends by STRIDE. @type {(state: number) => number} */
export function mulberry(state) {
  let t = Math.imul(state ^ (state >>> 15), state | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}

/** Box and Muller, of uniform(0), uniform(1) ... @type {<A extends Floats>(out: A, uniform: Scale1D) => A} */
export function normalsFrom(out, uniform) {
  for (let i = 0; i < out.length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform(i)));
    const angle = 2 * Math.PI * uniform(i + 1);
    out[i] = radius * Math.cos(angle);
    if (i + 1 < out.length) out[i + 1] = radius * Math.sin(angle);
  }
  return out;
}

/** Of one number after another. @type {(uniform: () => number) => Dice} */
export const diceOf = (uniform) => ({ uniform, normals: (out) => normalsFrom(out, uniform) });

export const mix32 = (/** @type {number} */ x) => {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
};

/** @type {(out: Float64Array, seed: number, stream: number, t: number, count?: number) => Float64Array} */
export function fillUniforms(out, seed, stream, t, count = out.length) {
  const odd = 0x9e3779b1;
  const key = mix32(Math.imul(mix32(Math.imul(mix32(seed + 1), odd) + stream + 1), odd) + t + 1);
  for (let i = 0; i < count; i++) out[i] = mix32((key + Math.imul(i + 1, odd)) | 0) / 4294967296;
  return out;
}

/** The length of `out` is even. @type {(out: Doubles, seed: number, stream: number, t: number) => Doubles} */
export function fillNormals(out, seed, stream, t) {
  fillUniforms(out, seed, stream, t);
  return normalsFrom(out, (i) => out[i]);
}
