// Curves of a decoder with noise mixed in.

// Means over the images of log Z and D under (1 - alpha) N(0, I) + alpha N(0, 100 I), with R, and each
// image's log Z.
/** @type {(terms: Terms, blur: number, alpha: number) => Mixed} */
export function mixed({ beta, images, narrowZ, narrowD, wideZ, wideD }, blur, alpha) {
  /** @type {Mixed} */
  const sum = { logZ: [], distortion: [], rate: [], each: [] };
  for (let r = 0; r < beta.length; r++) {
    const start = (blur * beta.length + r) * images;
    const each = new Float64Array(images);
    let [logZ, distortion] = [0, 0];
    for (let n = 0; n < images; n++) {
      const k = start + n;
      const sound = Math.log1p(-alpha) + narrowZ[k];
      const junk = Math.log(alpha) + wideZ[k];
      const most = Math.max(sound, junk);
      each[n] = most + Math.log(Math.exp(sound - most) + Math.exp(junk - most));
      const share = Math.exp(junk - each[n]);
      logZ += each[n] / images;
      distortion += ((1 - share) * narrowD[k] + share * wideD[k]) / images;
    }
    sum.logZ.push(logZ);
    sum.distortion.push(distortion);
    sum.rate.push(-logZ - beta[r] * distortion);
    sum.each.push(each);
  }
  return sum;
}

// The rate at a distortion, as the highest of the curve's tangents: never above the curve.
/** @type {(curve: { logZ: number[] }, beta: number[], distortion: number) => number} */
export function rateAt(curve, beta, distortion) {
  return Math.max(...beta.map((b, j) => -curve.logZ[j] - b * distortion));
}
