// The path of a sentence's candidates along a row of vertices that never falls; as dgm.slider, which see.

const CHARGE = 1;
const ABSTENTION = -99;

/**
 * A candidate of each row, best first, or null where the sentence stays as it is; `readOf` reads words.
 * @type {(rows: RankedCandidate[][], words: string[], readOf: (words: string[]) => number) =>
 *   (RankedCandidate | null)[]}
 */
export function risingPath(rows, words, readOf) {
  const middle = (rows.length - 1) / 2;
  const good = rows.map((row) => row.filter(({ reason }) => !reason));
  if (!good.some((row) => row.length)) return rows.map(() => null);
  const flat = good.flatMap((row, own) =>
    (row.length ? row : [null]).map((candidate) => {
      const total = candidate ? candidate.scores.total : ABSTENTION;
      return { own, candidate, total, value: readOf(candidate ? candidate.words : words) };
    }),
  );
  const scores = rows.map((_, k) =>
    flat.map(({ own, total }) => {
      const beside =
        own === k || (own - middle) * (k - middle) > 0 || (k === middle && Math.abs(own - k) === 1);
      return beside ? total - CHARGE * Math.abs(own - k) : -Infinity;
    }),
  );
  const best = (/** @type {number[]} */ row) => row.indexOf(Math.max(...row));
  /** @type {number[][]} */
  const back = [];
  const sums = scores.slice(1).reduce((before, row) => {
    const from = flat.map(({ value }) =>
      best(before.map((sum, i) => (flat[i].value > value ? -Infinity : sum))),
    );
    back.push(from);
    return row.map((score, j) => (flat[from[j]].value > flat[j].value ? -Infinity : score + before[from[j]]));
  }, scores[0]);
  let path = scores.map(best);
  if (Math.max(...sums) > -Infinity) {
    path = [best(sums)];
    for (const from of back.toReversed()) path.unshift(from[path[0]]);
  }
  return path.map((j) => flat[j].candidate);
}
