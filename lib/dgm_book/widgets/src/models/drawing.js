// A reader's strokes as an image.

export const PEN = 1.15 / 28; // half the pen's width, as a share of the side

// Strokes as an image as MNIST's are made: scaled into a box of 20 / 28 of the side, inked, centred by mass.
/** @type {(strokes: number[][], height: number, width: number) => Float64Array} */
export function inked(strokes, height, width) {
  const side = Math.min(height, width);
  const pen = PEN * side;
  const all = strokes.flat();
  const [xs, ys] = [0, 1].map((odd) => all.filter((_, i) => i % 2 === odd));
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  // No more than three times as large, so that a dot stays one.
  const scale = Math.min(((20 / 28) * side - 2 * pen) / Math.max(right - left, bottom - top, 1e-6), 3 * side);
  const image = new Float64Array(height * width);
  // Each pixel takes as much as a disc of the pen covers it, at the nearest point of the segment from a to b.
  const far = pen + 0.5;
  const ink = (/** @type {number[]} */ a, /** @type {number[]} */ b) => {
    const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
    const long = dx * dx + dy * dy || 1;
    const [first, start] = [0, 1].map((k) => Math.max(0, Math.floor(Math.min(a[k], b[k]) - far)));
    const [right, below] = [width, height].map((most, k) => Math.min(most, Math.max(a[k], b[k]) + far));
    for (let r = start; r < below; r++) {
      for (let c = first; c < right; c++) {
        const [px, py] = [c + 0.5 - a[0], r + 0.5 - a[1]];
        const along = Math.min(1, Math.max(0, (px * dx + py * dy) / long));
        const apart = Math.hypot(px - along * dx, py - along * dy);
        const i = r * width + c;
        image[i] = Math.max(image[i], Math.min(1, far - apart));
      }
    }
  };
  const lay = (/** @type {number} */ x, /** @type {number} */ y) => {
    image.fill(0);
    for (const stroke of strokes) {
      const at = stroke.map((v, k) => (k % 2 ? y : x) + scale * v);
      for (let k = 0; k < Math.max(2, at.length - 2); k += 2) {
        ink(at.slice(k, k + 2), at.length > 2 ? at.slice(k + 2, k + 4) : at);
      }
    }
  };
  const [x, y] = [(width - scale * (left + right)) / 2, (height - scale * (top + bottom)) / 2];
  lay(x, y);
  let [mass, mx, my] = [0, 0, 0];
  image.forEach((v, i) => {
    mass += v;
    mx += v * ((i % width) + 0.5);
    my += v * (Math.floor(i / width) + 0.5);
  });
  lay(x + width / 2 - mx / mass, y + height / 2 - my / mass);
  return image.map((v) => Math.round(255 * v) / 255);
}
