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
