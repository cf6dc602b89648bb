// Everything is bound to the view, and the view is read from the address.

document.documentElement.classList.add("scripted");
for (const table of document.querySelectorAll("table[data-sortable]")) makeSortable(table);
bindControls();
bindTheme();
bindVerdicts();
bindBoard();
bindExports();
bindGallery();
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
addEventListener("hashchange", readAddress);
readAddress();
