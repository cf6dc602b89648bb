// A table as text: the rows and columns that are shown, in the order that they have.

const FORMATS = {
  CSV: { write: asCsv, ending: "csv" },
  Markdown: { write: asMarkdown, ending: "md" },
  LaTeX: { write: asLatex, ending: "tex" },
};

function bindExports() {
  const dialog = document.getElementById("export");
  const text = dialog.querySelector("textarea");
  const copied = document.getElementById("copied");
  let file = "";
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-export]");
    if (!button) return;
    const { write, ending } = FORMATS[button.dataset.export];
    text.value = write(linesOf(document.getElementById(button.dataset.table)));
    file = `${button.dataset.table}.${ending}`;
    document.getElementById("export-title").textContent = `The table as ${button.dataset.export}`;
    copied.textContent = "";
    dialog.showModal();
    text.focus();
    text.select();
  });
  document.getElementById("copy").addEventListener("click", async () => {
    text.select();
    try {
      await navigator.clipboard.writeText(text.value);
      copied.textContent = "Copied.";
    } catch {
      copied.textContent = "This browser does not let the page copy; the text is selected.";
    }
  });
  document.getElementById("download").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text.value], { type: "text/plain" }));
    link.download = file;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

// The head and the rows of a table, as cells of { text, low, high, best }.
function linesOf(table) {
  const lead = (table.dataset.lead ?? "").split(" ").filter(Boolean);
  const shown = (row) => [...row.cells].filter((cell) => !cell.hidden).map(cellOf);
  const head = [...lead.map((name) => ({ text: name })), ...shown(table.tHead.rows[0])];
  const rows = [...table.querySelectorAll("tbody tr:not(.group):not([hidden])")];
  return [
    head,
    ...rows.map((row) => [...lead.map((name) => ({ text: row.dataset[name] })), ...shown(row)]),
  ];
}

function cellOf(cell) {
  const text = cell.dataset.text ?? cell.textContent.trim().replace(/\s+/g, " ");
  const { low, high } = cell.dataset;
  return { text, low, high, best: cell.classList.contains("best") };
}

// Intervals have columns of their own where numbers are read by programs.
function asCsv([head, ...rows]) {
  const ranged = head.map((_, index) => rows.some((row) => row[index].low !== undefined));
  const wide = (row, extra) =>
    row.flatMap((cell, i) => (ranged[i] ? [cell.text, ...extra(cell)] : [cell.text]));
  const lines = [
    wide(head, (cell) => [`${cell.text} low`, `${cell.text} high`]),
    ...rows.map((row) => wide(row, (cell) => [cell.low ?? "", cell.high ?? ""])),
  ];
  return `${lines.map((line) => line.map(csvText).join(",")).join("\r\n")}\r\n`;
}

// A spreadsheet runs a text that begins like a formula; an apostrophe before it makes it text.
function csvText(text) {
  const formula = /^[=+\-@\t]/.test(text) && Number.isNaN(Number(text));
  const safe = formula ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function asMarkdown([head, ...rows]) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  const strong = (text, cell) => (cell.best ? `**${text}**` : text);
  return [
    line(head.map((cell) => markdownText(cell.text))),
    line(head.map(() => "---")),
    ...rows.map((row) => line(row.map((cell) => strong(markdownText(cell.text), cell)))),
    "",
  ].join("\n");
}

function markdownText(text) {
  return text.replace(/[\\`*_<>|[\]]/g, "\\$&");
}

function asLatex([head, ...rows]) {
  const line = (cells) => `${cells.join(" & ")} \\\\`;
  const strong = (text, cell) => (cell.best ? `\\textbf{${text}}` : text);
  return [
    "% needs \\usepackage{booktabs}",
    `\\begin{tabular}{${"l".repeat(head.length)}}`,
    "\\toprule",
    line(head.map((cell) => latexText(cell.text))),
    "\\midrule",
    ...rows.map((row) => line(row.map((cell) => strong(latexText(cell.text), cell)))),
    "\\bottomrule",
    "\\end{tabular}",
    "",
  ].join("\n");
}

const LATEX = {
  "\\": "\\textbackslash{}",
  "~": "\\textasciitilde{}",
  "^": "\\textasciicircum{}",
  "<": "\\textless{}",
  ">": "\\textgreater{}",
  "✓": "$\\checkmark$",
  "✗": "$\\times$",
  "≈": "$\\approx$",
  "λ": "$\\lambda$",
  "–": "--",
};

function latexText(text) {
  return text.replace(/[\\~^<>✓✗≈λ–{}$&#_%]/g, (letter) => LATEX[letter] ?? `\\${letter}`);
}
