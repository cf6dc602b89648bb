// The view is what the reader chose: sort, filters, selection. It lives in the address, behind
// the place on the page, as in #leaderboard?board.sort=-ms&board.method=crd, so it can be sent.

let choices = new URLSearchParams();
let place = "";
const followers = [];
const known = new Map();

// `show` is called now and whenever the view changes.
function follow(show) {
  followers.push(show);
}

function showView() {
  for (const show of followers) show();
}

function chosen(name) {
  return choices.get(name) ?? "";
}

function choose(name, value) {
  setChoice(name, value);
  showView();
  writeAddress();
}

function setChoice(name, value) {
  if (value) choices.set(name, value);
  else choices.delete(name);
}

function writeAddress() {
  const words = choices.toString();
  const page = location.href.split("#")[0];
  const address = words || place ? `${page}#${place}${words && "?"}${words}` : page;
  try {
    history.replaceState(null, "", address);
  } catch {
    // Safari refuses the 101st change in 30 seconds; a later choice writes all of the view.
  }
}

// `keep` gives of an address's value for this choice what the page has, or an empty text.
function accept(name, keep) {
  known.set(name, keep);
}

// An address may be older than the page: nobody could undo a choice that has no control.
function dropUnknown() {
  for (const name of [...choices.keys()]) {
    setChoice(name, known.get(name)?.(chosen(name)));
  }
}

// A link to a place of the page has no choices; those that are there stay.
function readAddress() {
  const [target, words] = location.hash.slice(1).split("?");
  place = target;
  if (words !== undefined) choices = new URLSearchParams(words);
  dropUnknown();
  showView();
  writeAddress();
  reveal(document.getElementById(decoded(target)), words !== undefined);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function reveal(target, scroll) {
  if (!target) return;
  const closed = target.closest("details:not([open])");
  if (closed) closed.open = true;
  if (closed || scroll) target.scrollIntoView();
}

// Every <select data-choice> and <input type=checkbox data-choice> is one choice of the view.
function bindControls() {
  for (const control of document.querySelectorAll("[data-choice]")) {
    const name = control.dataset.choice;
    const check = control.type === "checkbox";
    const values = check ? ["yes"] : [...control.options].map((option) => option.value);
    accept(name, (value) => (values.includes(value) ? value : ""));
    control.addEventListener("change", () => {
      choose(name, check ? (control.checked ? "yes" : "") : control.value);
    });
    follow(() => {
      if (check) control.checked = chosen(name) !== "";
      else control.value = chosen(name) || values[0];
    });
  }
}

function bindTheme() {
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const now = () => chosen("theme") || (system.matches ? "dark" : "light");
  accept("theme", (value) => (["dark", "light"].includes(value) ? value : ""));
  button.addEventListener("click", () => choose("theme", now() === "dark" ? "light" : "dark"));
  system.addEventListener("change", showView);
  follow(() => {
    if (chosen("theme")) document.documentElement.dataset.theme = chosen("theme");
    else delete document.documentElement.dataset.theme;
    button.textContent = now() === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `${button.textContent} colours`);
  });
}
