// The gallery: pictures by category, setting, defect type and decision, and each in full size.

function bindGallery() {
  const groups = [...document.querySelectorAll("#gallery [data-group]")];
  if (groups.length === 0) return;
  const figures = groups.flatMap((group) => [...group.querySelectorAll("figure")]);
  for (const figure of figures) addOpener(figure);
  follow(() => {
    const group = chosen("gallery.group") || "0";
    const [defect, verdict] = [chosen("gallery.defect"), chosen("gallery.verdict")];
    for (const figure of figures) {
      const { defect: its, verdict: decided } = figure.dataset;
      figure.hidden = !(["", its].includes(defect) && ["", decided].includes(verdict));
    }
    for (const each of groups) {
      const empty = each.querySelector("figure:not([hidden])") === null;
      each.hidden = group === "all" ? empty : each.dataset.group !== group;
    }
    const shown = shownOf(figures).length;
    document.getElementById("gallery-count").textContent =
      `${shown} of ${figures.length} pictures are shown.`;
    document.querySelector("#gallery > .none-shown").hidden = shown > 0;
  });
  bindViewer(figures); // after the filters, since it counts what they show
}

function shownOf(figures) {
  return figures.filter((figure) => !figure.hidden && !figure.closest("[data-group]").hidden);
}

function addOpener(figure) {
  const image = figure.querySelector("img");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "opener";
  image.replaceWith(button);
  button.append(image);
  button.addEventListener("click", () => choose("picture", figure.id));
}

// Which picture is open is part of the view, so the address of a picture can be sent.
function bindViewer(figures) {
  const dialog = document.getElementById("viewer");
  const step = (by) => {
    const shown = shownOf(figures);
    const at = shown.findIndex((figure) => figure.id === chosen("picture"));
    if (shown.length) choose("picture", shown[(at + by + shown.length) % shown.length].id);
  };
  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("close", () => {
    const last = document.getElementById(chosen("picture"));
    choose("picture", "");
    last?.querySelector("button").focus();
  });
  follow(() => {
    const figure = figures.find((each) => each.id === chosen("picture"));
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
  const at = shown.indexOf(figure);
  document.getElementById("viewer-place").textContent =
    at < 0 ? "" : `Picture ${at + 1} of ${shown.length}`;
  if (!dialog.open) dialog.showModal();
}
