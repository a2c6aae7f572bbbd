// A text rewritten by the model of an attribute, in a worker: what is newest is answered first.

import { bufferOf } from "./models/nn.js";
import { rewritingHost } from "./models/rewriting.js";
import { startHost } from "./worker.js";
import script from "./workers/rewriting.js?script";

export const RANKED = 5; // rewrites to choose from
const MOST_ANSWERS = 80;

/**
 * With `along`, answers for all vertices are made together, once there is one for the weights.
 * @typedef {{ text: string, weights: number[], locked: string[], count: number, along?: boolean }}
 *   RewriteRequest
 */
/**
 * At first greedy decoding's rewrite alone; `whole` once nothing will change any more.
 * @typedef {{ first?: TextRewrite, rewrites?: TextRewrite[], sentences?: RankedSentence[], whole?: boolean }}
 *   RewriteAnswer
 */
/**
 * @typedef {{ id: number, first?: TextRewrite, ranked?: RewrittenText, along?: RewrittenText[] }}
 *   RewriteNews
 */
/**
 * @typedef {{ key: string, request: RewriteRequest, expected?: string[], id: number, first: boolean }}
 *   RewriteJob
 */

/**
 * Starts a model; `heard` is called when an answer to what was asked last has come, `checked` with how many
 * golden rewrites are wrong, which the model's pauses compute.
 * @type {(packed: PackedRewriter, heard: () => void, checked: (wrong: number) => void) => Rewriting}
 */
export function startRewriting({ header, data }, heard, checked) {
  const model = { header, data: bufferOf(data) };
  /** @type {Map<string, RewriteAnswer>} */
  const answers = new Map();
  const golden = [...(header.golden ?? [])];
  let [count, wrong] = [0, 0];
  /** @type {RewriteJob | null} */
  let pending = null;
  /** @type {RewriteJob | null} */
  let running = null;
  let host = startHost(script, rewritingHost(), receive, (own) => {
    host = own;
    host.send(model);
    if (running) begin(running);
  });
  host.send(model);

  function begin(/** @type {RewriteJob} */ job) {
    running = { ...job, id: ++count, first: false };
    host.send({ id: count, ...job.request });
  }
  // What runs has time for its first rewrite, so that a drag shows rewrites on its way.
  function goOn() {
    if (running && !running.expected && !running.first) return;
    if (pending) {
      if (running?.expected) golden.push(goldenOf(running));
      begin(pending);
      pending = null;
    } else if (!running && golden.length) {
      const { text, weights, rewrites } = golden[0];
      golden.shift();
      const request = { text, weights, locked: [], count: RANKED };
      begin({ key: "", request, expected: rewrites, id: 0, first: false });
    }
  }
  function note(/** @type {string} */ key, /** @type {RewriteAnswer} */ answer) {
    answers.delete(key);
    answers.set(key, answer);
    if (answers.size > MOST_ANSWERS) answers.delete(answers.keys().next().value ?? "");
  }
  function receive(/** @type {RewriteNews} */ { id, first, ranked, along }) {
    if (!running || id !== running.id) return;
    const { key, expected, request } = running;
    running.first = true;
    if (along || (ranked && !request.along)) running = null;
    if (expected && ranked) {
      const texts = ranked.rewrites.map(({ text }) => text);
      wrong += String(texts) === String(expected) ? 0 : 1;
      if (!golden.length) checked(wrong);
    } else if (!expected) {
      if (first) note(key, { first });
      if (ranked) note(key, { ...ranked, whole: !request.along });
      for (const [k, answer] of along?.entries() ?? []) {
        const weights = request.weights.map((_, i) => Number(i === k));
        note(JSON.stringify({ ...request, weights }), { ...answer, whole: true });
      }
      heard();
    }
    goOn();
  }
  const goldenOf = (/** @type {RewriteJob} */ { request, expected = [] }) => {
    return { text: request.text, weights: request.weights, rewrites: expected };
  };

  return {
    ask(request) {
      const key = JSON.stringify(request);
      const answer = answers.get(key);
      pending = null;
      if (!answer?.whole && running?.key !== key) {
        pending = { key, request, id: 0, first: false };
        goOn();
      }
      return answer;
    },
    known: (request) => answers.get(JSON.stringify(request)),
    stop: () => host.stop(),
  };
}
/**
 * `ask` gives the answer as far as it is there, and sees to it that it comes.
 * @typedef {{ ask(request: RewriteRequest): RewriteAnswer | undefined,
 *   known(request: RewriteRequest): RewriteAnswer | undefined, stop(): void }} Rewriting
 */
