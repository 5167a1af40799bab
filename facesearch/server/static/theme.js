// Before the first paint, so that a page in the dark does not flash: this one is no module.
"use strict";
(() => {
  const stored = localStorage.getItem("facesearch.theme");
  if (stored === "light" || stored === "dark") document.documentElement.dataset.theme = stored;
})();
