// Pictures of faces: thumbnails of enrolled photos, crops of the probe, and letters where there is no picture.

import * as api from "./api.js";
import { el } from "./dom.js";
import { getInfo } from "./server-info.js";

const KEPT = 400; // pictures in memory
const AT_ONCE = 4;
const MARGIN = 0.3; // around a box, in parts of its longer side: the same as on the server's thumbnails
const TINTS = 5;

const pictures = new Map();
const waiting = [];
let running = 0;

function next() {
  while (running < AT_ONCE && waiting.length) {
    running += 1;
    waiting.shift()().finally(() => {
      running -= 1;
      next();
    });
  }
}

/** Run tasks a few at a time. */
function queued(task) {
  return new Promise((resolve, reject) => {
    waiting.push(() => task().then(resolve, reject));
    next();
  });
}

function picture(photoId) {
  const kept = pictures.get(photoId);
  if (kept) return kept;
  const loaded = queued(() => api.thumbnail(photoId)).then(
    (blob) => URL.createObjectURL(blob),
    () => null,
  );
  pictures.set(photoId, loaded);
  if (pictures.size > KEPT) {
    const [oldest, url] = pictures.entries().next().value;
    pictures.delete(oldest);
    url.then((found) => found && URL.revokeObjectURL(found));
  }
  return loaded;
}

function letters(name) {
  const words = name.split(/[\s_]+/u).filter(Boolean);
  const chosen = words.length > 1 ? [words[0], words.at(-1)] : words;
  return chosen.map((word) => [...word][0].toLocaleUpperCase()).join("");
}

function tint(name) {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) % 9973;
  return sum % TINTS;
}

/** A square with the person's letters, over which a picture comes if there is one. Decoration: the name is beside it. */
export function portrait(name, { photoId = null, url = null, size = "" } = {}) {
  const made = el("span", { class: `portrait tint-${tint(name)} ${size}`, "aria-hidden": "true" }, letters(name));
  if (url) show(made, url);
  else if (photoId !== null) {
    getInfo()
      .then((server) => (server.thumbnails ? picture(photoId) : null))
      .then((found) => found && show(made, found))
      .catch(() => {}); // the letters stay
  }
  return made;
}

function show(place, url) {
  place.append(el("img", { src: url, alt: "", draggable: "false" }));
}

/** A square cut out of a `picture`, as a data URL; null where the browser cannot show the photo. */
export async function cut({ url, scale: shown }, box, side = 224) {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    return null;
  }
  const [x1, y1, x2, y2] = box;
  const length = Math.max(x2 - x1, y2 - y1) * (1 + 2 * MARGIN);
  const canvas = el("canvas", { width: side, height: side });
  const context = canvas.getContext("2d");
  context.fillStyle = "#7f7f7f";
  context.fillRect(0, 0, side, side);
  context.imageSmoothingQuality = "high";
  const scale = side / length;
  const [left, top] = [(x1 + x2 - length) / 2, (y1 + y2 - length) / 2];
  const [width, height] = [image.naturalWidth / shown, image.naturalHeight / shown];
  context.drawImage(image, -left * scale, -top * scale, width * scale, height * scale);
  return canvas.toDataURL("image/jpeg", 0.9);
}
