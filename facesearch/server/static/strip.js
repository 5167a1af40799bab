// The photos that were dropped together, in a row to walk through.

import { el, icon } from "./dom.js";

const STEPS = { ArrowRight: 1, ArrowLeft: -1 };
const GLYPHS = { waiting: "photo", searching: "search", failed: "warning", unusable: "cross", match: "check", unknown: "photo" };

/** Photos are `{ file, picture }`; `onchoose` hears the one that is clicked or moved to with the arrow keys. */
export function photoStrip(photos, onchoose) {
  const buttons = photos.map((photo) => el("button", { type: "button", class: "strip-photo waiting", "aria-pressed": "false", onclick: () => onchoose(photo) }));
  const row = el("div", { class: "strip", role: "group", "aria-label": `${photos.length} photos` }, buttons);

  row.addEventListener("keydown", (event) => {
    const ends = { Home: 0, End: photos.length - 1 };
    const at = buttons.indexOf(document.activeElement);
    if (at < 0 || !(event.key in STEPS || event.key in ends)) return;
    event.preventDefault();
    const to = ends[event.key] ?? (at + STEPS[event.key] + photos.length) % photos.length;
    buttons[to].focus();
    onchoose(photos[to]);
  });

  /** `text` is short, `said` is for those who hear it, `tone` decides the colour and the sign. */
  function update(photo, { text, said, tone }) {
    const at = photos.indexOf(photo);
    const made = buttons[at];
    made.className = `strip-photo ${tone}`;
    made.setAttribute("aria-label", `Photo ${at + 1} of ${photos.length}, ${photo.file.name}: ${said}`);
    const image = photo.picture?.url ? el("img", { src: photo.picture.url, alt: "", draggable: "false" }) : null;
    made.replaceChildren(...[image, el("span", { class: "gist", "aria-hidden": "true" }, icon(GLYPHS[tone]), text)].filter(Boolean));
  }

  function select(photo) {
    const at = photos.indexOf(photo);
    // One stop for the Tab key, as in a toolbar: arrows go on from there.
    buttons.forEach((each, index) => {
      each.setAttribute("aria-pressed", String(index === at));
      each.tabIndex = index === at ? 0 : -1;
    });
    buttons[at].scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  for (const photo of photos) update(photo, { text: "", said: "waiting", tone: "waiting" });
  return { element: row, update, select };
}
