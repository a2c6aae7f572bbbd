// Elements of a page, and rich text in them: nothing that is shown is ever read as HTML.

/** @type {(node: Element, names: string[], rest: (Attributes | Node | string)[]) => void} */
function furnish(node, names, [first, ...rest]) {
  if (names.length) node.setAttribute("class", names.join(" "));
  if (first === undefined) return;
  if (typeof first === "string" || first instanceof Node)
    node.append(first, .../** @type {Children} */ (rest));
  else {
    for (const [key, value] of Object.entries(first)) node.setAttribute(key, String(value));
    node.append(.../** @type {Children} */ (rest));
  }
}

/** Such as element("p.dgm-note", { id: "a" }, "text"); the attributes may be left out. @type {MakeElement} */
export function element(selector, ...rest) {
  const [tag, ...names] = selector.split(".");
  const node = document.createElement(tag);
  furnish(node, names, rest);
  return /** @type {any} */ (node);
}

/** The same, for SVG. @type {MakeShape} */
export function shape(selector, ...rest) {
  const [tag, ...names] = selector.split(".");
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  furnish(node, names, rest);
  return /** @type {any} */ (node);
}

// "*q*_*\u03b2*_" is q in italics with beta below it; the text is never read as HTML.
/** @type {(text: string, make?: (text: string) => Element) => Children} */
export function rich(text, make = (/** @type {string} */ word) => element("i", word)) {
  /** @type {(part: string) => Children} */
  const italics = (part) => part.split("*").map((word, i) => (i % 2 ? make(word) : word));
  return text.split("_").flatMap((part, i) => (i % 2 ? element("sub", ...italics(part)) : italics(part)));
}

/** @type {(text: string) => SVGElement} */
export const italic = (text) => shape("tspan.dgm-i", text);
