import { rewritingHost } from "../models/rewriting.js";

const SLICE_MS = 8; // after which newer requests are heard
const work = rewritingHost();
const { port1: pause, port2: wake } = new MessageChannel();
/** @type {Iterator<void>[]} */
let jobs = [];

function slice() {
  const end = performance.now() + SLICE_MS;
  while (jobs.length && performance.now() < end) if (jobs[0].next().done) jobs.shift();
  if (jobs.length) wake.postMessage(null);
}

pause.onmessage = slice;
self.onmessage = ({ data }) => {
  jobs = [...jobs, work(data, postMessage)];
  if (jobs.length === 1) wake.postMessage(null);
};
