// What scrolls sideways on a narrow screen can be reached, and so scrolled, by the keyboard.
const wide = ".dgm-claims, mjx-container, .cell_output .output";
const mark = () => {
  for (const element of document.querySelectorAll(wide)) {
    if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
    else element.removeAttribute("tabindex");
  }
};
const observer = new ResizeObserver(mark);
for (const element of document.querySelectorAll(`.bd-article, ${wide}`)) observer.observe(element);

// On a phone a table is behind its caption, and this book's claims behind their number.
if (matchMedia("(max-width: 600px)").matches)
  for (const part of document.querySelectorAll("details[data-phone]"))
    part.open = Boolean(part.parentElement.closest("details"));

// A folded list can be searched. Without this script it is shown whole.
for (const list of document.querySelectorAll(".dgm-folded > .dgm-lines")) {
  const input = document.createElement("input");
  Object.assign(input, { type: "search", placeholder: "Search these lines" });
  input.setAttribute("aria-label", "Search these lines");
  const count = document.createElement("output");
  count.setAttribute("aria-live", "polite");
  input.addEventListener("input", () => {
    const sought = input.value.trim().toLowerCase();
    for (const line of list.children) line.hidden = !line.textContent.toLowerCase().includes(sought);
    const shown = [...list.children].filter((line) => !line.hidden).length;
    count.textContent = ` ${shown} of ${list.children.length} lines`;
  });
  list.tabIndex = 0;
  list.before(input, count);
}

// Copies the entries that a page is cited by; where a browser forbids that, selects them.
for (const button of document.querySelectorAll(".dgm-cite button")) {
  const block = button.closest(".dgm-cite");
  const note = block.querySelector("[role=status]");
  const entries = block.querySelector("pre");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(entries.textContent);
      note.textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(entries);
      const copied = document.execCommand("copy");
      note.textContent = copied ? "Copied." : "Selected: press Ctrl+C, or ⌘C, to copy.";
    }
  });
}

const toTop = document.querySelector("#pst-back-to-top"); // gives way to what stands below

// A tour goes from stop to stop: each sets a widget by its link, and what there is to see is said below.
for (const tour of document.querySelectorAll(".dgm-tour")) {
  const stops = [...tour.querySelectorAll("li")];
  const make = (tag, options) => Object.assign(document.createElement(tag), options);
  const button = (text, step) => {
    const made = make("button", { type: "button", textContent: text });
    made.addEventListener("click", step);
    return made;
  };
  let at = 0;
  const text = make("p", { ariaLive: "polite" });
  const go = (i) => stops[i].querySelector("a").click();
  const back = button("Back", () => go(at - 1));
  const next = button("Next", () => (at + 1 < stops.length ? go(at + 1) : end()));
  const bar = make("div", { className: "dgm-stop", role: "region", ariaLabel: "Tour", hidden: true });
  const buttons = make("div", {});
  buttons.append(back, next, button("End the tour", end));
  bar.append(text, buttons);
  document.body.append(bar, toTop);
  function end() {
    bar.hidden = true;
    start.focus();
  }
  tour.addEventListener("click", ({ target }) => {
    const link = target.closest("a");
    const i = stops.findIndex((stop) => link && stop.contains(link));
    if (i < 0) return;
    at = i;
    text.textContent = `${i + 1} of ${stops.length}. ${stops[i].textContent.trim()}`;
    back.disabled = i === 0;
    next.textContent = i + 1 < stops.length ? "Next" : "Done";
    if (bar.hidden) {
      bar.hidden = false;
      next.focus();
    }
    const [name] = link.hash.slice(1).split("=");
    document.querySelector(`[data-widget="${CSS.escape(name)}"]`)?.scrollIntoView();
  });
  const start = button("Start the tour", () => go(0));
  tour.querySelector("summary").after(start);
}

// What a link in the text changes may lie outside the window: a button after the link leads there.
const lead = Object.assign(document.createElement("button"), {
  type: "button",
  className: "dgm-lead",
  textContent: "Show what it changed",
});
let watching;
let changed;
const leave = () => {
  watching?.disconnect();
  lead.remove();
  toTop.classList.remove("dgm-covered");
};
lead.addEventListener("click", () => {
  const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
  leave();
  (changed.querySelector(".dgm-picture") ?? changed).scrollIntoView({ behavior });
  const widget = changed.querySelector(".dgm") ?? changed;
  widget.tabIndex = -1;
  widget.focus({ preventScroll: true });
});
document.addEventListener("click", ({ target }) => {
  const link = target instanceof Element && target.closest(".bd-article a[href*='=']");
  const name = link && !link.closest(".dgm-tour") && link.hash.slice(1).split("=")[0];
  const widget = name && document.querySelector(`[data-widget="${CSS.escape(name)}"]`);
  if (!widget) return;
  leave();
  changed = widget;
  watching = new IntersectionObserver(
    ([{ boundingClientRect, intersectionRect }]) => {
      const enough = 0.7 * Math.min(boundingClientRect.height, innerHeight - 80);
      if (intersectionRect.height >= enough) leave();
      else if (!lead.isConnected) {
        link.after(lead);
        toTop.classList.add("dgm-covered");
      }
    },
    { threshold: Array.from({ length: 21 }, (_, i) => i / 20) },
  );
  watching.observe(widget);
});

// A thumbnail moves while it is pointed at or has the focus, unless its reader prefers stillness.
if (matchMedia("(prefers-reduced-motion: no-preference)").matches) {
  for (const image of document.querySelectorAll("img[data-moving]")) {
    const { src } = image;
    const show = (source) => () => Object.assign(image, { src: source });
    const card = image.closest("a");
    for (const kind of ["pointerenter", "focus"]) card.addEventListener(kind, show(image.dataset.moving));
    for (const kind of ["pointerleave", "blur"]) card.addEventListener(kind, show(src));
  }
}

// A drawing moves through its mechanism once, when asked, and again from the start.
for (const figure of document.querySelectorAll(".dgm-drawing")) {
  const svg = figure.querySelector("svg");
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Play" });
  button.setAttribute("aria-label", `Play: ${svg.querySelector("title").textContent}`);
  button.addEventListener("click", () => {
    figure.classList.remove("dgm-moves");
    svg.getAnimations({ subtree: true }); // ends those that ran
    figure.classList.add("dgm-moves");
    const moves = svg.getAnimations({ subtree: true }).map((move) => move.finished);
    const rest = () => figure.classList.remove("dgm-moves");
    Promise.all(moves).then(rest, () => {});
  });
  figure.querySelector("figcaption").prepend(button);
}

// A symbol that is pointed at, focused or tapped lights up in text, equations and drawing.
if (document.querySelector("[class*=dgm-symbol-]")) {
  const light = ({ target }) => {
    const part = target instanceof Element && target.closest("[class*=dgm-symbol-]");
    const [name] = (part && part.getAttribute("class").match(/dgm-symbol-\w+/)) || [];
    for (const lit of document.querySelectorAll(".dgm-lit")) lit.classList.remove("dgm-lit");
    if (name) for (const one of document.querySelectorAll(`.${name}`)) one.classList.add("dgm-lit");
  };
  for (const kind of ["pointerover", "focusin", "click"]) document.addEventListener(kind, light);
  for (const one of document.querySelectorAll("figcaption .math[class*=dgm-symbol-]")) one.tabIndex = 0;
}
