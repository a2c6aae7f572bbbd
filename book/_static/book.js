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
