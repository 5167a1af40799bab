// Elements made in code. Text goes in as text nodes, never as HTML: names of people and files are untrusted.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `on...` properties are listeners, `true` an empty attribute; null and false are left out. */
export function el(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (name === "value") made.value = value;
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

const PATHS = {
  camera: "M4 8h3l2-3h6l2 3h3a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V9a1 1 0 0 1 1-1zM12 17a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z",
  photo: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5h.01",
  folder: "M3 6h6l2 2h10v11H3z",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM16 16l5 5",
  check: "M5 12.5l4.5 4.5L19 7",
  warning: "M12 4l9 16H3zM12 10v4M12 17h.01",
  cross: "M6 6l12 12M18 6L6 18",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M19 5l-1.4 1.4M6.4 17.6L5 19",
  moon: "M20 14.5A8 8 0 0 1 9.500 4a8 8 0 1 0 10.500 10.500z",
  auto: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 3v18M12 7h5M12 12h8M12 17h5",
  people: "M9 11a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7zM2.500 20c0-4 3-6 6.500-6s6.500 2 6.500 6M16 4.500a3.500 3.500 0 0 1 0 6.500M18 14.500c2.200.8 3.500 2.700 3.500 5.500",
  back: "M15 5l-7 7 7 7",
  key: "M8 18a5 5 0 1 0 0-10 5 5 0 0 0 0 10zM12 10l8-6M17 6l2.500 3",
};

/** A small drawing beside a text that says the same. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "glyph");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** A button; `kind` is primary, danger, quiet or nothing. */
export function button(label, onclick, { kind = "", glyph = null, ...rest } = {}) {
  return el("button", { type: "button", class: kind, onclick, ...rest }, glyph && icon(glyph), label);
}

/** Photos for a file input. Some systems do not count the latter among the images, and hide them. */
export const PHOTOS = "image/*,.heic,.heif,.avif,.tif,.tiff";

/** A file input behind a button of its own. */
export function fileButton(label, onfiles, { kind = "", glyph = null, ...rest } = {}) {
  const input = el("input", {
    type: "file",
    class: "unseen",
    tabindex: "-1",
    "aria-hidden": "true",
    onchange: () => {
      const files = [...input.files];
      input.value = "";
      if (files.length) onfiles(files);
    },
    ...rest,
  });
  return el("span", { class: "file" }, button(label, () => input.click(), { kind, glyph }), input);
}

/** Say something to those who do not see it. */
export function announce(text) {
  const region = document.getElementById("status");
  region.textContent = "";
  setTimeout(() => (region.textContent = text), 30);
}

/** "1 photo", "3 photos". */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** A name that may break after an underscore, as names of folders and files do. */
export function breakable(name) {
  return name.split(/(?<=_)/u).flatMap((part, index) => (index ? [el("wbr"), part] : [part]));
}

/** What stands where there is nothing yet. */
export function empty(glyph, title, text, ...actions) {
  return el(
    "div",
    { class: "empty" },
    el("div", { class: "emblem" }, icon(glyph)),
    el("h2", null, title),
    el("p", null, text),
    actions.length ? el("div", { class: "actions" }, actions) : null,
  );
}

/** An error with what to do next, and a way to try again. */
export function failure(error, retry = null) {
  const hint = error.hint ? el("p", { class: "hint" }, error.hint) : null;
  const again = retry ? button("Try again", retry) : null;
  return el(
    "div",
    { class: "notice bad", role: "alert" },
    icon("warning"),
    el("div", null, el("p", null, error.message), hint, again),
  );
}

/** A placeholder in the shape of what is being loaded. */
export function loading(text, rows = 3) {
  const bones = Array.from({ length: rows }, () => el("div", { class: "bone" }));
  return el("div", { class: "loading", "aria-busy": "true" }, el("p", { class: "unseen" }, text), bones);
}
