// A widget as its module exports it.

import { openWidget, shape, throttled } from "./frame.js";

// `build` fills a widget's frame, with what `load` brings of its model if that is given. It returns what
// draws it at the width of `sized`, 0 where that is not laid out yet; or that, and what a new width lays out
// and the end ends.
/** @type {DefineWidget} */
export const defineWidget = (definition, build) => ({
  async render(props) {
    const given = typeof definition === "function" ? definition(props.model) : definition;
    const { measure, load, pause = 600, ...options } = given;
    const loaded = /** @type {Awaited<ReturnType<NonNullable<typeof load>>>} */ (await load?.(props.model));
    const opened = openWidget(props, options);
    const w = { ...opened, speak: throttled(opened.status, pause) };
    const built = build(w, loaded);
    const { draw, layout, ...ends } = typeof built === "function" ? { draw: built } : built;
    let width = 0;
    const resized = (/** @type {number} */ wide) => {
      width = wide;
      layout?.(wide);
      w.ask();
    };
    const stop = w.start(measure, () => draw(width), { ...ends, resized });
    w.ask();
    return stop;
  },
});

/** Parts of an SVG by their names, in this order. @type {MakeLayers} */
export function layersOf(svg, selectors) {
  const entries = Object.entries(selectors).map(([name, selector]) => [name, shape(selector)]);
  svg.append(...entries.map(([, node]) => node));
  return Object.fromEntries(entries);
}
