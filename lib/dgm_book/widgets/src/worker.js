// Work in a worker, or where none can be made on this thread, a few milliseconds at a time.

/** @typedef {{ send: (request: any) => void, stop: () => void, alone: boolean }} Host */
/** @typedef {(request: any, tell: (message: any) => void) => Iterator<void>} Work */

const SLICE_MS = 8;

/**
 * A host on this thread.
 * @param {Work} work
 * @param {(message: any) => void} receive
 * @returns {Host}
 */
function slices(work, receive) {
  let over = false;
  /** @type {(request: any) => void} */
  const send = (request) => {
    const job = work(request, receive);
    const slice = () => {
      const end = performance.now() + SLICE_MS;
      while (!over && performance.now() < end) if (job.next().done) return;
      if (!over) setTimeout(slice);
    };
    setTimeout(slice);
  };
  const stop = () => {
    over = true;
  };
  return { send, stop, alone: true };
}

/**
 * Starts a worker from its script; `work` is what that script does with each request. Where the worker
 * breaks, `lost` is given a host on this thread, and decides what is sent again.
 * @param {string} script
 * @param {Work} work
 * @param {(message: any) => void} receive
 * @param {(host: Host) => void} lost
 * @returns {Host}
 */
export function startHost(script, work, receive, lost) {
  try {
    const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    const worker = new Worker(url);
    URL.revokeObjectURL(url);
    let over = false;
    const stop = () => {
      over = true;
      worker.terminate();
    };
    worker.onmessage = ({ data }) => over || receive(data);
    worker.onerror = (event) => {
      event.preventDefault();
      if (over) return;
      stop();
      lost(slices(work, receive));
    };
    return { send: (request) => worker.postMessage(request), stop, alone: false };
  } catch {
    return slices(work, receive);
  }
}
