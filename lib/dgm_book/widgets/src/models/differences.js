// Which items two lists share, as Python's difflib.SequenceMatcher finds them without heuristics.

/** The longest run that both parts share, the first of several: its starts, and its length. */
/** @type {(a: string[], b: string[], part: number[]) => [number, number, number]} */
function longestRun(a, b, [aStart, aEnd, bStart, bEnd]) {
  /** @type {[number, number, number]} */
  let best = [aStart, bStart, 0];
  let before = new Map();
  for (let i = aStart; i < aEnd; i++) {
    const now = new Map();
    for (let j = bStart; j < bEnd; j++) {
      if (a[i] !== b[j]) continue;
      const length = (before.get(j - 1) ?? 0) + 1;
      now.set(j, length);
      if (length > best[2]) best = [i - length + 1, j - length + 1, length];
    }
    before = now;
  }
  return best;
}

/** Places in a and in b of what stays, in order. @type {(a: string[], b: string[]) => [number, number][]} */
export function inBoth(a, b) {
  /** @type {[number, number][]} */
  const pairs = [];
  const parts = [[0, a.length, 0, b.length]];
  for (let part = parts.pop(); part; part = parts.pop()) {
    const [i, j, length] = longestRun(a, b, part);
    if (!length) continue;
    for (let k = 0; k < length; k++) pairs.push([i + k, j + k]);
    parts.push([part[0], i, part[2], j], [i + length, part[1], j + length, part[3]]);
  }
  return pairs.sort((p, q) => p[0] - q[0]);
}
