// The reader's drawing as a file of a few bytes, and what anyone with the decoder makes of such bytes.

import { pushButton } from "./controls.js";
import { put } from "./form.js";
import { element, imagePainter, number, penOf, rich } from "./frame.js";
import { CANDIDATES, candidate, readIndex, work, writeIndex } from "./models/coding.js";
import { inked } from "./models/drawing.js";
import { decode } from "./models/nn.js";
import { startHost } from "./worker.js";
import script from "./workers/coding.js?script";

/** @import { Job } from "./drawing_job.js" */
/** @import { CodingMessage, Sent } from "./models/coding.js" */

const MOST_NATS = Math.log(CANDIDATES) - 3; // of rate: so many candidates show q_beta up to here
const FIRST = "When the annealing is done, send the drawing: as the number of one candidate code.";
const NONE = "no such file: two to four bytes, as hexadecimal digits";
const hex = (/** @type {Uint8Array} */ bytes) =>
  Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join(" ");
const bits = (/** @type {number} */ nats) => nats / Math.LN2;

/** @type {(text: string) => Uint8Array | null} */
function bytesOf(text) {
  const digits = text.replace(/\s/g, "");
  if (!/^([\da-f]{2})+$/i.test(digits)) return null;
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** @type {(sent: Sent) => Children} */
function account({ index, beta, rate, expected, distortion }) {
  const length = writeIndex(index).length;
  const most = bits(rate) + Math.log2(bits(rate) + 1) + 5;
  const at = `Sent at *\u03b2* = ${number(beta, 2)}`;
  const price = `${at}: candidate ${index} of ${CANDIDATES}, ${length} bytes.`;
  const theory = `*R* is ${number(bits(rate))} bits; a code needs at most ${number(most)} on average.`;
  return rich(`${price} ${theory} Distortion ${number(distortion)}, promised ${number(expected)}.`);
}

/**
 * A panel that sends the drawing at the highest price that the candidates can serve, and receives bytes.
 * @type {(w: Widget, network: Network, job: Job, noted: () => void) => Panel}
 */
export function makeFile(w, network, job, noted) {
  const [height, width] = w.get("image_shape");
  const [size, side] = [network.layers[0].columns, Math.max(1, Math.round(84 / width))];
  const canvas = element("canvas", { role: "img", width: width * side, height: height * side });
  const [pen, paint] = [penOf(canvas), imagePainter(width, height)];
  const field = element("input", {
    "aria-label": "The file, as hexadecimal digits",
    spellcheck: "false",
    size: "12",
  });
  const [note, verdict] = [element("p.dgm-caption"), element("p.dgm-draw-received", { role: "status" })];
  /** @type {ReturnType<typeof startHost> | null} */
  let host = null;
  /** @type {unknown} */
  let before = null;
  let seed = w.get("seed");

  function receive() {
    const bytes = bytesOf(field.value);
    const index = bytes && readIndex(bytes);
    field.setAttribute("aria-invalid", String(!index && field.value !== ""));
    put(verdict, index || !field.value ? "" : NONE);
    canvas.setAttribute("aria-label", index ? `The picture of candidate ${index}` : "Nothing received yet");
    if (!index) pen.clearRect(0, 0, canvas.width, canvas.height);
    else
      paint(
        pen,
        decode(network.layers, Float32Array.from(candidate(w.get("seed"), index, size))),
        0,
        0,
        canvas.width,
        canvas.height,
      );
  }
  function stop() {
    host?.stop();
    host = null;
  }
  function answer(/** @type {CodingMessage} */ message) {
    if ("progress" in message)
      return put(verdict, `${Math.round(100 * message.progress)} % of the candidates tried`);
    host = null;
    field.value = hex(writeIndex(message.sent.index));
    receive();
    note.replaceChildren(...account(message.sent));
    w.root.dataset.sent = JSON.stringify(message.sent);
    w.ask();
  }
  function send() {
    noted();
    const point = job.result.points.findLast(({ rate }) => rate < MOST_NATS);
    if (!point) return;
    const layers = network.layers.map(({ rows, columns, activation, weight, bias }) => {
      return { rows, columns, activation, weight: weight.slice(), bias: bias.slice() };
    });
    const request = {
      layers,
      x: inked(w.get("drawing"), height, width),
      beta: point.beta,
      seed: w.get("seed"),
    };
    host = startHost(script, work, answer, (own) => {
      host = own;
      own.send(request);
    });
    host.send(request);
    w.ask();
  }
  const go = pushButton("Send as a file", send);
  field.addEventListener("input", () => {
    noted();
    receive();
  });
  const controls = element("div", element("div.dgm-row", go, field), verdict, note);
  receive();
  return {
    node: element("div.dgm-draw-file", element("div.dgm-draw-tile", canvas), controls),
    stop,
    show() {
      const { points } = job.result;
      if (before !== points) {
        before = points;
        stop();
        put(note, FIRST);
      }
      // The candidates are the seed's: with another one the same bytes are another picture.
      if (seed !== w.get("seed")) {
        seed = w.get("seed");
        receive();
      }
      go.disabled = job.running() || host !== null || !points.length;
    },
  };
}
/** @typedef {{ node: Node, show(): void, stop(): void }} Panel */
