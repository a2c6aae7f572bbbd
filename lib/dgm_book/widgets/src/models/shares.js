// What a share of right answers says, and a mean.

/** Mean and standard error. @type {(values: number[]) => MeanError} */
export function meanWithError(values) {
  const n = values.length;
  const mean = values.reduce((sum, v) => sum + v, 0) / n;
  const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / Math.max(1, n - 1);
  return { mean, error: Math.sqrt(variance / n) };
}

/** The ends of Wilson's 95 % interval. @type {(right: number, n: number) => [number, number]} */
export function wilson(right, n) {
  const z2 = 1.959964 ** 2;
  const a = right / n;
  const middle = (a + z2 / (2 * n)) / (1 + z2 / n);
  const reach = Math.sqrt(z2 * ((a * (1 - a)) / n + z2 / (4 * n * n))) / (1 + z2 / n);
  return [Math.max(0, middle - reach), Math.min(1, middle + reach)];
}

/** log 2 - H(share), nats. @type {(share: number) => number} */
export const informationAtLeast = (share) =>
  Math.log(2) + [share, 1 - share].reduce((sum, p) => (p > 0 ? sum + p * Math.log(p) : sum), 0);
