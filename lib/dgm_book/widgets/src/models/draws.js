// Random numbers that only a seed and their place decide, as in hyper_weights.py.

/** @type {(x: number) => number} */
export const mix32 = (x) => {
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

// Box and Muller, of two uniforms each; out has an even length.
/** @type {(out: Float64Array, seed: number, stream: number, t: number) => Float64Array} */
export function fillNormals(out, seed, stream, t) {
  fillUniforms(out, seed, stream, t);
  for (let i = 0; i + 1 < out.length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - out[i]));
    const angle = 2 * Math.PI * out[i + 1];
    out[i] = radius * Math.cos(angle);
    out[i + 1] = radius * Math.sin(angle);
  }
  return out;
}
