// A filter by verdict above all chapters' claims. Without this script all rows are there.
const table = document.querySelector(".dgm-claims");
const rows = table ? [...table.querySelectorAll("li[data-verdict]")] : [];
if (rows.length) {
  const count = document.createElement("output");
  count.setAttribute("aria-live", "polite");
  const show = (verdict) => {
    for (const row of rows) row.hidden = verdict !== "all" && row.dataset.verdict !== verdict;
    for (const chapter of table.querySelectorAll("details.dgm-chapter")) {
      chapter.hidden = !chapter.querySelector("li:not([hidden])");
      chapter.open = verdict !== "all";
    }
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} claims`;
  };
  const filter = document.createElement("fieldset");
  filter.className = "dgm-filter";
  const legend = document.createElement("legend");
  legend.textContent = "Show";
  filter.append(legend);
  for (const verdict of ["all", "holds", "does not hold", "undecided", "not tested"]) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: "verdict", value: verdict, checked: verdict === "all" });
    input.addEventListener("change", () => show(verdict));
    label.append(input, ` ${verdict}`);
    filter.append(label);
  }
  filter.append(count);
  table.before(filter);
  show("all");
}
