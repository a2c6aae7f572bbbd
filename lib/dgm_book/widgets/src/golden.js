// How far a page's networks are off their golden values.

// Tells how far these models are off at most, where any has a golden sequence.
/** @type {(root: HTMLElement, names: string[], goldenError: HyperNets["goldenError"]) => void} */
export function showGoldenError(root, names, goldenError) {
  const found = names.map(goldenError).filter((error) => error !== null);
  if (found.length) root.dataset.goldenError = String(Math.max(...found));
}
