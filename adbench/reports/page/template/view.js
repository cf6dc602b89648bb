// The view is what the reader chose: sort, filters, selection. It lives in the address, behind
// the place on the page, as in #leaderboard?board.sort=-ms&board.method=crd, so it can be sent.

let choices = new URLSearchParams();
let place = "";
const followers = [];

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
  if (value) choices.set(name, value);
  else choices.delete(name);
  writeAddress();
  showView();
}

function writeAddress() {
  const words = choices.toString();
  const page = location.href.split("#")[0];
  history.replaceState(null, "", words || place ? `${page}#${place}${words && "?"}${words}` : page);
}

// A link to a place of the page has no choices; those that are there stay.
function readAddress() {
  const [target, words] = location.hash.slice(1).split("?");
  place = target;
  if (words !== undefined) choices = new URLSearchParams(words);
  writeAddress();
  showView();
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
    control.addEventListener("change", () => {
      choose(name, check ? (control.checked ? "yes" : "") : control.value);
    });
    follow(() => {
      if (check) control.checked = chosen(name) !== "";
      else control.value = chosen(name) || control.options[0].value;
      // An address may come from another page, with a word that is no option here.
      if (!check && control.selectedIndex < 0) control.selectedIndex = 0;
    });
  }
}

function bindTheme() {
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const now = () => chosen("theme") || (system.matches ? "dark" : "light");
  button.addEventListener("click", () => choose("theme", now() === "dark" ? "light" : "dark"));
  system.addEventListener("change", showView);
  follow(() => {
    if (chosen("theme")) document.documentElement.dataset.theme = chosen("theme");
    else delete document.documentElement.dataset.theme;
    button.textContent = now() === "dark" ? "Light" : "Dark";
    button.ariaLabel = `${button.textContent} colours`;
  });
}
