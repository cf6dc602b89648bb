// The leaderboard: filters, columns that are hidden, and rows that are selected.

const FILTERS = ["dataset", "category", "method", "backbone"];

function bindBoard() {
  const table = document.getElementById("board");
  const rows = [...table.querySelectorAll("tbody tr:not(.group)")];
  const keys = rows.map(keyOf);
  const boxes = [...document.querySelectorAll("[data-column]")];
  const columns = boxes.map((box) => box.dataset.column);
  const picks = rows.map((row, number) => addPick(row, keys[number]));
  accept("board.rows", () => [...wordsOf("board.rows")].filter((key) => keys.includes(key)).join());
  accept("board.hidden", () =>
    [...wordsOf("board.hidden")].filter((column) => columns.includes(column)).join(),
  );
  accept("board.selected", () => (keys.some((key) => wordsOf("board.rows").has(key)) ? "yes" : ""));
  for (const box of boxes) {
    box.addEventListener("change", () => {
      choose("board.hidden", columns.filter((_, number) => !boxes[number].checked).join());
    });
  }
  document.getElementById("board-reset").addEventListener("click", () => {
    for (const name of [...choices.keys()]) if (name.startsWith("board.")) choices.delete(name);
    choose("board.rows", "");
  });
  follow(() => {
    const picked = wordsOf("board.rows");
    rows.forEach((row, number) => {
      picks[number].checked = picked.has(keys[number]);
      row.classList.toggle("picked", picks[number].checked);
      row.hidden = !passes(row, picks[number].checked);
    });
    for (const body of table.tBodies) {
      body.hidden = body.querySelector("tr:not(.group):not([hidden])") === null;
    }
    showColumns(table, boxes, wordsOf("board.hidden"));
    countRows(rows, picked.size);
  });
}

// The same on every page that has the row; a comma parts one from the next.
function keyOf({ dataset: { dataset, category, key } }) {
  return [dataset, category, key].map(encodeURIComponent).join(".");
}

function wordsOf(name) {
  return new Set(chosen(name).split(",").filter(Boolean));
}

function passes(row, picked) {
  if (chosen("board.selected") && !picked) return false;
  return FILTERS.every((name) => ["", row.dataset[name]].includes(chosen(`board.${name}`)));
}

function addPick(row, key) {
  const pick = document.createElement("input");
  pick.type = "checkbox";
  const { category, dataset } = row.dataset;
  const title = row.cells[0].textContent.trim();
  pick.setAttribute("aria-label", `Select ${title}, ${category} of ${dataset}`);
  row.cells[0].prepend(pick);
  pick.addEventListener("change", () => {
    const picked = wordsOf("board.rows");
    if (pick.checked) picked.add(key);
    else picked.delete(key);
    choose("board.rows", [...picked].join());
  });
  return pick;
}

function showColumns(table, boxes, hidden) {
  for (const box of boxes) box.checked = !hidden.has(box.dataset.column);
  const cells = [...table.tHead.rows[0].cells];
  cells.forEach((cell, index) => {
    const hide = hidden.has(cell.dataset.name);
    if (cell.hidden === hide) return;
    for (const row of table.rows) {
      if (!row.classList.contains("group")) row.cells[index].hidden = hide;
    }
  });
  for (const title of table.querySelectorAll("tr.group th")) {
    title.colSpan = cells.filter((cell) => !cell.hidden).length;
  }
}

function countRows(rows, picked) {
  const shown = rows.filter((row) => !row.hidden).length;
  const marked = picked ? `, ${picked} selected` : "";
  document.getElementById("board-count").textContent =
    `${shown} of ${rows.length} rows are shown${marked}.`;
}
