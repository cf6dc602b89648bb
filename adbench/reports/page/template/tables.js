// Tables that sort: a click or Enter on the title of a column, and the direction in aria-sort.
// Rows stay inside their <tbody>, so that only what is comparable is put in order.

function makeSortable(table) {
  const head = [...table.tHead.rows[0].cells];
  const bodies = [...table.tBodies].map((body) => ({ body, rows: [...body.rows] }));
  const name = `${table.id}.sort`;
  const columns = head.map((cell, index) => cell.dataset.name ?? String(index));
  const sorted = () => chosen(name) || (table.dataset.sort ?? "");
  head.forEach((cell, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...cell.childNodes);
    cell.append(button);
    button.addEventListener("click", () => choose(name, nextSort(sorted(), columns[index], cell)));
  });
  accept(name, (sort) => (columns.includes(bare(sort)) ? sort : ""));
  follow(() => {
    const sort = sorted();
    const index = columns.indexOf(bare(sort));
    head.forEach((cell, i) => {
      if (i !== index) cell.removeAttribute("aria-sort");
      else cell.setAttribute("aria-sort", sort.startsWith("-") ? "descending" : "ascending");
    });
    if (table.dataset.sorted === sort) return;
    table.dataset.sorted = sort;
    for (const { body, rows } of bodies) body.append(...inOrder(rows, index, sort.startsWith("-")));
  });
}

function bare(sort) {
  return sort.replace(/^-/, "");
}

// First the direction in which the best comes first, then the other one, then as it was.
function nextSort(sort, column, cell) {
  const first = cell.dataset.first === "descending" ? `-${column}` : column;
  const second = first === column ? `-${column}` : column;
  return sort === first ? second : sort === second ? "" : first;
}

function inOrder(rows, index, descending) {
  const titles = rows.filter((row) => row.classList.contains("group"));
  const lines = rows.filter((row) => !row.classList.contains("group"));
  if (index < 0) return [...titles, ...lines];
  const keyed = lines.map((row) => ({ row, key: sortKey(row.cells[index]) }));
  const known = keyed.filter(({ key }) => key !== null);
  const unknown = keyed.filter(({ key }) => key === null);
  known.sort((a, b) => compare(a.key, b.key) * (descending ? -1 : 1));
  return [...titles, ...[...known, ...unknown].map(({ row }) => row)];
}

// A number where the text begins with one; null, which stays last, where there is nothing.
function sortKey(cell) {
  const text = (cell.dataset.value ?? cell.dataset.text ?? cell.textContent).trim();
  if (text === "" || text === "–" || text === "-") return null;
  const number = Number.parseFloat(text.replace("−", "-").replace("+", ""));
  return Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

// The verdict that is chosen, in all published tables and claims; those without it are not shown.
function bindVerdicts() {
  const tables = [...document.querySelectorAll("#verdicts .published")];
  const count = document.getElementById("verdict-count");
  const lines = tables.flatMap((table) => [...table.querySelectorAll("tr[data-kind]")]);
  follow(() => {
    const kind = chosen("verdict");
    for (const line of lines) line.hidden = kind !== "" && line.dataset.kind !== kind;
    for (const table of tables) {
      table.hidden = table.querySelector("tr[data-kind]:not([hidden])") === null;
      if (kind) table.open = true;
    }
    const shown = lines.filter((line) => !line.hidden).length;
    if (count) count.textContent = `${shown} of ${lines.length} lines are shown.`;
  });
}
