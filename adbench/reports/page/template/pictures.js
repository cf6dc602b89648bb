// The gallery: pictures by category, setting, defect type and decision, and each in full size.

function bindGallery() {
  const groups = [...document.querySelectorAll("#gallery [data-group]")];
  if (groups.length === 0) return;
  const figures = groups.flatMap((group) => [...group.querySelectorAll("figure")]);
  for (const figure of figures) addOpener(figure);
  const filter = () => {
    const group = chosen("gallery.group") || groups[0].dataset.group;
    const [defect, verdict] = [chosen("gallery.defect"), chosen("gallery.verdict")];
    for (const figure of figures) {
      const { defect: its, verdict: decided } = figure.dataset;
      figure.hidden = !(["", its].includes(defect) && ["", decided].includes(verdict));
    }
    for (const each of groups) {
      const empty = each.querySelector("figure:not([hidden])") === null;
      each.hidden = group === "all" ? empty : each.dataset.group !== group;
    }
  };
  // The picture of an address is shown, whatever else the address says.
  accept("picture", (key) => {
    const figure = figures.find((each) => pictureOf(each) === key);
    if (!figure) return "";
    filter();
    if (figure.hidden || groupOf(figure).hidden) {
      setChoice("gallery.group", groupOf(figure).dataset.group);
      setChoice("gallery.defect", "");
      setChoice("gallery.verdict", "");
    }
    return key;
  });
  follow(() => {
    filter();
    const shown = shownOf(figures).length;
    document.getElementById("gallery-count").textContent =
      `${shown} of ${figures.length} pictures are shown.`;
    document.querySelector("#gallery > .none-shown").hidden = shown > 0;
  });
  bindViewer(figures); // after the filters, since it counts what they show
}

function shownOf(figures) {
  return figures.filter((figure) => !figure.hidden && !groupOf(figure).hidden);
}

function groupOf(figure) {
  return figure.closest("[data-group]");
}

// The same on every page that has the picture: its record and its name.
function pictureOf(figure) {
  return `${groupOf(figure).dataset.group}/${figure.dataset.name}`;
}

function addOpener(figure) {
  const image = figure.querySelector("img");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "opener";
  image.replaceWith(button);
  button.append(image);
  button.addEventListener("click", () => choose("picture", pictureOf(figure)));
}

// Which picture is open is part of the view, so the address of a picture can be sent.
function bindViewer(figures) {
  const dialog = document.getElementById("viewer");
  const open = () => figures.find((each) => pictureOf(each) === chosen("picture"));
  const step = (by) => {
    const shown = shownOf(figures);
    const at = shown.indexOf(open());
    choose("picture", pictureOf(shown[(at + by + shown.length) % shown.length]));
  };
  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  dialog.addEventListener("keydown", (event) => {
    if (event.target.classList.contains("frame")) return; // there the arrows scroll
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("close", () => {
    const last = open();
    choose("picture", "");
    last?.querySelector("button").focus();
  });
  follow(() => {
    const figure = open();
    if (figure) showPicture(dialog, figure, shownOf(figures));
    else if (dialog.open) dialog.close();
  });
}

function showPicture(dialog, figure, shown) {
  const small = figure.querySelector("img");
  const image = document.getElementById("viewer-image");
  image.src = small.src;
  image.alt = small.alt;
  // The picture fills the window, whatever its own size.
  image.style.setProperty("--ratio", small.getAttribute("width") / small.getAttribute("height"));
  const caption = document.getElementById("viewer-caption");
  const of = document.createElement("span");
  of.textContent = figure.dataset.of;
  caption.replaceChildren(of, ...figure.querySelector("figcaption").cloneNode(true).childNodes);
  document.getElementById("viewer-place").textContent =
    `Picture ${shown.indexOf(figure) + 1} of ${shown.length}`;
  if (!dialog.open) {
    dialog.showModal();
    document.getElementById("next").focus(); // not the picture, where the arrows scroll
  }
}
