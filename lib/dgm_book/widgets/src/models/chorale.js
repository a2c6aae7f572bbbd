// Writes pieces of music with a recurrent network.

import { fillNormals, fillUniforms } from "./draws.js";
import { hyperFilter } from "./hyper_rnn.js";

const LOWEST = 21; // the first key's MIDI number
export const PARTICLES = 16; // that read the opening, and judge what is written
const STREAMS = { posterior: 3, resampling: 4, prior: 5, keys: 6, choice: 7 };

// Writes a piece frame by frame into `piece.frames` (lists of MIDI numbers, the opening in front); piece.nats
// holds the log-likelihood of each frame given those before, by a particle filter.
/** @type {(net: HyperNet, settings: PieceSettings, piece: Piece) => Generator<void>} */
export function* compose(net, { opening, length, temperature, seed }, piece) {
  const { x: X, z: Z } = net.sizes;
  const judge = hyperFilter(net, PARTICLES);
  const writer = hyperFilter(net, 1);
  /** @type {(stream: number, t: number, count: number) => Float64Array} */
  const normals = (stream, t, count) => fillNormals(new Float64Array(count + (count % 2)), seed, stream, t);
  /** @type {(stream: number, t: number, count: number) => Float64Array} */
  const uniforms = (stream, t, count) => fillUniforms(new Float64Array(count), seed, stream, t);
  const read = (/** @type {Float64Array} */ x, /** @type {number} */ t) => {
    judge.step(x, normals(STREAMS.posterior, t, PARTICLES * Z), uniforms(STREAMS.resampling, t, PARTICLES));
    piece.frames.push([...x.keys()].filter((key) => x[key]).map((key) => key + LOWEST));
    piece.nats.push(judge.increment);
  };
  judge.reset();
  for (const [t, pitches] of opening.entries()) {
    const x = new Float64Array(X);
    for (const pitch of pitches) x[pitch - LOWEST] = 1;
    read(x, t);
    yield;
  }
  // One of the readers goes on writing; after resampling they all weigh the same.
  const [u] = uniforms(STREAMS.choice, 0, 1);
  let chosen = Math.floor(u * PARTICLES);
  if (!judge.resampled) {
    chosen = 0;
    for (let sum = judge.weights[0]; sum <= u && chosen < PARTICLES - 1; ) sum += judge.weights[++chosen];
  }
  writer.adopt(judge, chosen);
  for (let t = opening.length; t < opening.length + length; t++) {
    writer.generate(normals(STREAMS.prior, t, Z), uniforms(STREAMS.keys, t, X), temperature);
    read(writer.written, t);
    yield;
  }
  piece.whole = true;
}

// Runs of one pitch in frames from..to: [pitch, first frame, frames].
/** @type {(frames: number[][], from: number, to: number) => Run[]} */
export function runsOf(frames, from, to) {
  /** @type {Run[]} */
  const runs = [];
  for (let t = from; t < to; t++) {
    for (const pitch of frames[t]) {
      if (t > from && frames[t - 1].includes(pitch)) continue;
      let end = t + 1;
      while (end < to && frames[end].includes(pitch)) end += 1;
      runs.push([pitch, t, end - t]);
    }
  }
  return runs;
}
