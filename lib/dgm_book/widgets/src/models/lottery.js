// What chance, a critic and its temperature make of the sentences that follow one sentence.

// P(k), what the critic makes of each against the first, the weights of equation (10), and the shares on
// average.
/** @type {(scores: number[], p: number, temperature: number) => Lottery} */
export function lottery(scores, p, temperature) {
  const drawn = scores.map((_, k) => p * (1 - p) ** k);
  const gain = scores.map((t) => (t - scores[0]) / temperature);
  const bracket = gain.map((g, k) => g - Math.log(drawn[k]));
  const most = Math.max(...bracket);
  const sum = (/** @type {number[]} */ values) => values.reduce((a, b) => a + b, 0);
  const normalised = (/** @type {number[]} */ values) => values.map((v) => v / sum(values));
  const weight = normalised(bracket.map((b) => Math.exp(b - most)));
  const share = normalised(weight.map((w, k) => drawn[k] * w));
  return {
    drawn,
    gain,
    weight,
    share,
    effective: 1 / sum(weight.map((w) => w * w)),
    beyond: (1 - p) ** scores.length,
  };
}
