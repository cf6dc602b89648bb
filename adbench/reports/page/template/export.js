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
    setTimeout(() => URL.revokeObjectURL(link.href), 60000); // some browsers read it only now
  });
}

// The head and the rows of a table, as cells of { text, value, low, high, range, best, tied }.
function linesOf(table) {
  const lead = (table.dataset.lead ?? "").split(" ").filter(Boolean);
  const shown = (row) => [...row.cells].filter((cell) => !cell.hidden).map(cellOf);
  const head = [...lead.map((name) => ({ text: name })), ...shown(table.tHead.rows[0])];
  const rows = [...table.querySelectorAll("tbody tr:not(.group):not([hidden])")];
  return [
    head,
    ...rows.map((row) => [
      ...lead.map((name) => ({ text: plain(row.dataset[name]) })),
      ...shown(row),
    ]),
  ];
}

function cellOf(cell) {
  const { value, low, high } = cell.dataset;
  const text = plain(cell.dataset.text ?? cell.textContent);
  const range = low === undefined ? "" : ` (${plain(cell.querySelector("small").textContent)})`;
  const [best, tied] = ["best", "tied"].map((name) => cell.classList.contains(name));
  return { text, value, low, high, range, best, tied };
}

function plain(text) {
  return text.trim().replace(/\s+/g, " ");
}

// For readers: a number with its interval, and with the marks without which the best is a rank.
function asRead({ text, range, best, tied }, escaped, strong) {
  const number = best ? strong(escaped(text)) : escaped(text);
  return `${tied ? escaped("≈ ") : ""}${number}${escaped(range ?? "")}`;
}

// For programs: numbers before they are rounded, and their intervals in columns of their own.
function asCsv([head, ...rows]) {
  const ranged = head.map((_, index) => rows.some((row) => row[index].low !== undefined));
  const wide = (row, extra) =>
    row.flatMap((cell, i) => [cell.value ?? cell.text, ...(ranged[i] ? extra(cell) : [])]);
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
  const read = (cell) => asRead(cell, markdownText, (text) => `**${text}**`);
  return [
    line(head.map(read)),
    line(head.map(() => "---")),
    ...rows.map((row) => line(row.map(read))),
    "",
  ].join("\n");
}

function markdownText(text) {
  return text.replace(/[\\`*_<>|[\]~$&]/g, "\\$&");
}

const TIED = "% bold: the best; \\approx: not told from it by these images; behind: 95% interval";

function asLatex([head, ...rows]) {
  const read = (cell) => asRead(cell, latexText, (text) => `\\textbf{${text}}`);
  // Behind \\ a row that begins with [ or * would be read as an argument.
  const line = (row) => `${row.map(read).join(" & ").replace(/^[[*]/, "{$&}")} \\\\`;
  return [
    "% needs \\usepackage{booktabs,amssymb}",
    ...(rows.flat().some((cell) => cell.tied) ? [TIED] : []),
    `\\begin{tabular}{${"l".repeat(head.length)}}`,
    "\\toprule",
    line(head),
    "\\midrule",
    ...rows.map(line),
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
  "−": "$-$",
  "≤": "$\\leq$",
  "|": "\\textbar{}",
};

function latexText(text) {
  return text.replace(/[\\~^<>✓✗≈λ–−≤|{}$&#_%]/g, (letter) => LATEX[letter] ?? `\\${letter}`);
}
