// The exact cells of a discriminator, and the signs of its units.

// The signs of every hidden layer at each point, one unsigned number a layer: patterns[l][k].
export function patterns(/** @type {Pass} */ { network, K, pre }) {
  return network.layers.slice(0, -1).map(({ outputs }, l) => {
    const words = new Uint32Array(K);
    for (let k = 0; k < K; k++) {
      let word = 0;
      for (let u = 0; u < outputs; u++) word |= Number(pre[l][k * outputs + u] > 0) << u;
      words[k] = word >>> 0;
    }
    return words;
  });
}

// Cuts the square [-limit, limit]^2 exactly into the convex cells on which the network's first `depth` layers
// are affine. Yields between units, so that a caller may take a rest; returns [{ points: [x, y, ...], words
// }].
/** @type {(network: GanNetwork, depth: number, limit: number) => Generator<void, GanCell[]>} */
export function* cells(network, depth, limit) {
  /** @type {GanCell[]} */
  let list = [
    {
      points: [-limit, -limit, limit, -limit, limit, limit, -limit, limit],
      words: [],
      word: 0,
      map: Float64Array.of(1, 0, 0, 0, 1, 0),
    },
  ];
  for (let l = 0; l < depth; l++) {
    // What each unit is on each cell: x times the first, y times the second, plus the third.
    for (let i = 0; i < list.length; i++) {
      if (i % 256 === 255) yield;
      list[i].map = composed(network.theta, network.layers[l], list[i].map);
      list[i].word = 0;
    }
    for (let u = 0; u < network.layers[l].outputs; u++) {
      /** @type {GanCell[]} */
      const next = [];
      for (const cell of list) cut(cell, u, next);
      list = next;
      if (list.length > 256) yield;
    }
    for (const cell of list) {
      cell.words = [...cell.words, cell.word >>> 0];
      cell.map = cell.map.slice();
      for (let e = 0; e < cell.map.length; e++)
        if (!((cell.word >>> Math.floor(e / 3)) & 1)) cell.map[e] *= network.leak;
    }
  }
  return list;
}

/** @type {(theta: Float64Array, layer: GanLayer, map: Float64Array) => Float64Array} */
function composed(theta, { inputs, outputs, weight, bias }, map) {
  const rows = new Float64Array(3 * outputs);
  for (let u = 0, w = weight; u < outputs; u++) {
    let x = 0,
      y = 0,
      constant = theta[bias + u];
    for (let e = 0; e < 3 * inputs; e += 3, w++) {
      x += theta[w] * map[e];
      y += theta[w] * map[e + 1];
      constant += theta[w] * map[e + 2];
    }
    rows[3 * u] = x;
    rows[3 * u + 1] = y;
    rows[3 * u + 2] = constant;
  }
  return rows;
}

let values = new Float64Array(32);
function cut(/** @type {GanCell} */ cell, /** @type {number} */ u, /** @type {GanCell[]} */ into) {
  const { points, map } = cell;
  const n = points.length / 2;
  if (values.length < n) values = new Float64Array(2 * n);
  const x = map[3 * u],
    y = map[3 * u + 1],
    constant = map[3 * u + 2];
  let low = Infinity,
    high = -Infinity;
  for (let p = 0; p < n; p++) {
    const v = x * points[2 * p] + y * points[2 * p + 1] + constant;
    values[p] = v;
    if (v < low) low = v;
    if (v > high) high = v;
  }
  const on = cell.word | (1 << u);
  // What sticks out by rounding alone is no piece of its own.
  const least = 1e-10 * (high - low);
  if (low >= -least || high <= least) {
    if (high > -low) cell.word = on;
    into.push(cell);
    return;
  }
  /** @type {number[][]} */
  const [above, below] = [[], []];
  for (let p = 0; p < n; p++) {
    const q = (p + 1) % n;
    (values[p] >= 0 ? above : below).push(points[2 * p], points[2 * p + 1]);
    if (values[p] >= 0 === values[q] >= 0) continue;
    const share = values[p] / (values[p] - values[q]);
    const crossing = [0, 1].map((c) => points[2 * p + c] + share * (points[2 * q + c] - points[2 * p + c]));
    above.push(...crossing);
    below.push(...crossing);
  }
  into.push({ ...cell, points: above, word: on }, { ...cell, points: below });
}
