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
