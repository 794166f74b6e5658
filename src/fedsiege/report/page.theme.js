"use strict";
/* Runs before anything is drawn, so that a page kept dark does not flash white. */
(() => {
  const root = document.documentElement;
  let kept = null;
  try { kept = localStorage.getItem("fedsiege-theme"); } catch { /* Storage may be switched off. */ }
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  const asked = matchMedia("(prefers-color-scheme: dark)");
  window.fedsiegeDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : asked.matches);
  const tell = () => document.dispatchEvent(new Event("themechange"));
  asked.addEventListener("change", tell);
  document.addEventListener("DOMContentLoaded", () => {
    const buttons = [...document.querySelectorAll("[data-theme-choice]")];
    const mark = () => buttons.forEach((button) =>
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === (root.dataset.theme ?? "auto"))));
    for (const button of buttons)
      button.addEventListener("click", () => {
        const choice = button.dataset.themeChoice;
        if (choice === "auto") delete root.dataset.theme;
        else root.dataset.theme = choice;
        try { localStorage.setItem("fedsiege-theme", choice); } catch { /* Kept for this visit alone. */ }
        mark();
        tell();
      });
    mark();
  });
})();
