// Sorting and filtering of the tables. All data is in the page; nothing here writes markup.
"use strict";

for (const figure of document.querySelectorAll("figure.table")) {
  const body = figure.querySelector("tbody");
  const heads = [...figure.querySelectorAll("thead th")];
  const rows = [...body.rows]; // as the page came: the last order when values are equal

  const compare = (column, sign) => (one, other) => {
    const [a, b] = [one, other].map((row) => row.cells[column].dataset.value);
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined); // empty cells come last
    const isNumber = heads[column].classList.contains("number");
    return sign * (isNumber ? a - b : a.localeCompare(b));
  };

  const sort = (column) => {
    const head = heads[column];
    const first = head.dataset.best === "high" ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? second : first;
    for (const other of heads) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", order);
    body.append(...rows.toSorted(compare(column, order === "ascending" ? 1 : -1)));
  };

  if (figure.classList.contains("sortable"))
    heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => sort(column)));

  const form = figure.querySelector("form");
  if (form) {
    const search = form.querySelector("input");
    const menus = [...form.querySelectorAll("select")];
    const said = form.querySelector("output");
    const textOf = (cell) => cell.firstChild.textContent.trim(); // without the tag behind it

    const filter = () => {
      const wanted = search.value.trim().toLowerCase();
      let shown = 0;
      for (const row of rows) {
        row.hidden =
          !row.textContent.toLowerCase().includes(wanted) ||
          menus.some((menu) => menu.value && textOf(row.cells[menu.dataset.column]) !== menu.value);
        shown += !row.hidden;
      }
      said.textContent = shown < rows.length ? `${shown} of ${rows.length} rows` : `${shown} rows`;
    };

    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
    filter();
  }
}

// On paper everything is open.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((fold) => (fold.open = true)));
