// The frame of the page: which view is shown, light or dark, and the key.

import { forgetKey, hasKey, onKeyNeeded } from "./api.js";
import { ask } from "./dialogs.js";
import { button, el, failure, icon } from "./dom.js";
import * as enroll from "./enroll.js";
import * as identify from "./identify.js";
import * as people from "./people.js";
import * as person from "./person.js";
import * as report from "./report.js";
import { may } from "./server-info.js";

const ROUTES = [
  // The address, the view, and which link of the navigation it belongs to.
  [/^\/?$/u, identify, "identify"],
  [/^\/people$/u, people, "people"],
  [/^\/people\/(\d+)$/u, person, "people"],
  [/^\/enroll$/u, enroll, "enroll"],
  [/^\/report$/u, report, "report"],
];

const main = document.getElementById("main");
let leaving = null;

/** Show the view of the address. A view is `title`, the scope that it `needs`, and `mount(place, signal, { id, query })`. */
async function route({ first = false } = {}) {
  if (location.hash === "#main") return main.focus();
  const [path, search] = (location.hash.slice(1) || "/").split("?");
  const found = ROUTES.find(([pattern]) => pattern.test(path)) ?? ROUTES[0];
  const [pattern, view, name] = found;
  leaving?.abort();
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  leaving = new AbortController();
  const { signal } = leaving;
  document.title = `${view.title} · facesearch`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const place = el("div", { class: `view ${view.kind ?? name}` });
  main.replaceChildren(place);
  if (!first) scrollTo(0, 0);
  try {
    if (!(await may(view.needs))) return forbidden(place, view);
    if (signal.aborted) return;
    await view.mount(place, signal, { id: Number(path.match(pattern)?.[1]), query: new URLSearchParams(search) });
  } catch (error) {
    if (signal.aborted) return;
    place.replaceChildren(el("h1", null, view.title), failure(error, () => route()));
  }
  if (signal.aborted) return;
  const heading = place.querySelector("h1");
  heading?.setAttribute("tabindex", "-1");
  if (!first && (document.activeElement === document.body || document.activeElement?.closest("nav"))) heading?.focus();
}

/** What stands where a view is that the key in use does not open. */
async function forbidden(place, view) {
  const doing = view.needs === "read" ? "search or list people" : "enroll";
  const way = view.needs === "read" && (await may("enroll")) ? el("a", { class: "button primary", href: "#/enroll" }, "Enroll people") : null;
  const other = hasKey() ? button("Use another key", () => (forgetKey(), location.reload()), { glyph: "key" }) : null;
  const text = `The key in use may not ${doing}. Ask for one with the scope ${view.needs}.`;
  place.replaceChildren(
    el("h1", null, view.title),
    el("div", { class: "notice" }, icon("key"), el("p", null, text)),
    el("div", { class: "actions" }, way, other),
  );
}

onKeyNeeded((wasWrong) => {
  if (wasWrong) forgetKey();
  return ask("This server asks for a key", "Key", {
    yes: "Continue",
    secret: true,
    note: wasWrong
      ? "That key is not valid, or not any more. facesearch keys create makes a new one."
      : "Whoever runs the server makes one with: facesearch keys create. It is forgotten when this tab is closed.",
  });
});

const THEMES = { "": ["auto", "as the system"], light: ["sun", "light"], dark: ["moon", "dark"] };
const NEXT = { "": "light", light: "dark", dark: "" };
const themeButton = document.getElementById("theme");

function drawTheme() {
  const [glyph, name] = THEMES[document.documentElement.dataset.theme ?? ""];
  themeButton.replaceChildren(icon(glyph));
  themeButton.setAttribute("aria-label", `Colours: ${name}`);
  themeButton.title = `Colours: ${name}`;
}

themeButton.addEventListener("click", () => {
  const next = NEXT[document.documentElement.dataset.theme ?? ""];
  if (next) document.documentElement.dataset.theme = next;
  else delete document.documentElement.dataset.theme;
  localStorage.setItem("facesearch.theme", next);
  drawTheme();
});

// A file that is dropped beside the place for it must not replace the page.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
addEventListener("hashchange", () => route());
drawTheme();
route({ first: true });
