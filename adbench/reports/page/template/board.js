// The leaderboard: filters, columns that are hidden, and rows that are selected.

const FILTERS = ["dataset", "category", "method", "backbone"];

function bindBoard() {
  const table = document.getElementById("board");
  const rows = [...table.querySelectorAll("tbody tr:not(.group)")];
  const boxes = [...document.querySelectorAll("[data-column]")];
  const picks = rows.map((row, number) => addPick(row, number));
  for (const box of boxes) {
    box.addEventListener("change", () => {
      const hidden = boxes.filter((each) => !each.checked).map((each) => each.dataset.column);
      choose("board.hidden", hidden.join(","));
    });
  }
  document.getElementById("board-reset").addEventListener("click", () => {
    for (const name of [...choices.keys()]) if (name.startsWith("board.")) choices.delete(name);
    choose("board.rows", "");
  });
  follow(() => {
    const picked = numbers("board.rows");
    rows.forEach((row, number) => {
      picks[number].checked = picked.has(String(number));
      row.classList.toggle("picked", picks[number].checked);
      row.hidden = !passes(row, picks[number].checked);
    });
    for (const body of table.tBodies) {
      body.hidden = body.querySelector("tr:not(.group):not([hidden])") === null;
    }
    showColumns(table, boxes, numbers("board.hidden"));
    countRows(rows, picked.size);
  });
}

function numbers(name) {
  return new Set(chosen(name).split(",").filter(Boolean));
}

function passes(row, picked) {
  if (chosen("board.selected") && !picked) return false;
  return FILTERS.every((name) => ["", row.dataset[name]].includes(chosen(`board.${name}`)));
}

function addPick(row, number) {
  const pick = document.createElement("input");
  pick.type = "checkbox";
  const { category, dataset } = row.dataset;
  pick.ariaLabel = `Select ${row.cells[0].textContent.trim()}, ${category} of ${dataset}`;
  row.cells[0].prepend(pick);
  pick.addEventListener("change", () => {
    const picked = numbers("board.rows");
    if (pick.checked) picked.add(String(number));
    else picked.delete(String(number));
    choose("board.rows", [...picked].join(","));
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
