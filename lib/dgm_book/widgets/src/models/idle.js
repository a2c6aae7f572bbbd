// Work for the page's pauses.

// Runs a generator in slices when the page has nothing else to do, and on a busy machine every 100 ms;
// returns what stops it.
/** @type {<T>(work: Iterator<void, T>, done: (value: T) => void) => () => void} */
export function idly(work, done) {
  const idle = globalThis.requestIdleCallback ?? ((run) => setTimeout(run, 20));
  let stopped = false;
  const slice = () => {
    const end = performance.now() + 6;
    while (!stopped && performance.now() < end) {
      const { done: over, value } = work.next();
      if (over) return done(value);
    }
    if (!stopped) idle(slice, { timeout: 100 });
  };
  idle(slice, { timeout: 100 });
  return () => (stopped = true);
}

/** How far a model is off each of its golden values. @param {Golden} shared */
function* goldenErrors({ golden, goldenError }) {
  const errors = [];
  for (let g = 0; g < golden; g++) {
    errors.push(goldenError(g));
    yield;
  }
  return errors;
}

/** The same for its widgets, once a page. @type {(shared: Golden) => Promise<number[]>} */
export function checkedOnce(shared) {
  shared.errors ??= new Promise((resolve) => {
    idly(goldenErrors(shared), resolve);
  });
  return shared.errors;
}
