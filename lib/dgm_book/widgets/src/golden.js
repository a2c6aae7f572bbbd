// How far a page's networks are off their golden values.

import { checkedOnce } from "./models/idle.js";

// Tells how far these models are off at most, where any has a golden sequence.
/** @type {(root: HTMLElement, names: string[], goldenError: HyperNets["goldenError"]) => void} */
export function showGoldenError(root, names, goldenError) {
  const errors = names.map(goldenError).filter((error) => error !== null);
  if (errors.length) root.dataset.goldenError = String(Math.max(...errors));
}

// The largest error, which the page's pauses compute, or how many rewrites are wrong.
/** @type {(root: HTMLElement, name: "goldenError" | "goldenWrong", shared: Golden) => Promise<void>} */
export async function checkGolden(root, name, shared) {
  if (!shared.golden) return;
  const errors = await checkedOnce(shared);
  const wrong = errors.filter(Boolean).length;
  root.dataset[name] = String(name === "goldenWrong" ? wrong : Math.max(...errors));
}
