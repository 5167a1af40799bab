// A photo with a button over every face, scaled with it.

import { announce, el, icon } from "./dom.js";

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/**
 * `picture` is what `pictureOf` gives; faces are `{ box, tone, label, description }`, boxes in pixels of the upright
 * photo. `onselect` hears the position of
 * the face that is clicked or moved to with the arrow keys.
 */
export function stage({ picture, name, faces, onselect }) {
  const image = el("img", { src: picture.url ?? "", alt: `Photo ${name}`, draggable: "false" });
  const buttons = faces.map((face, position) => faceButton(face, position, () => choose(position)));
  const boxes = el("div", { class: "boxes", role: "group", "aria-label": "Faces in the photo" }, buttons);
  const frame = el("div", { class: "frame" }, image, boxes);
  const made = el("div", { class: "stage" }, frame);

  function choose(position) {
    select(position);
    onselect(position);
  }

  function select(position) {
    buttons.forEach((each, index) => each.setAttribute("aria-pressed", String(index === position)));
    if (frame.classList.contains("ready")) separate(buttons, frame);
  }

  function place() {
    const [width, height] = [image.naturalWidth / picture.scale, image.naturalHeight / picture.scale];
    frame.style.setProperty("--ratio", String(width / height));
    frame.style.setProperty("--natural", `${width}px`);
    faces.forEach(({ box }, index) => {
      const [x1, y1, x2, y2] = box;
      const { style } = buttons[index];
      style.left = `${(100 * x1) / width}%`;
      style.top = `${(100 * y1) / height}%`;
      style.width = `${(100 * (x2 - x1)) / width}%`;
      style.height = `${(100 * (y2 - y1)) / height}%`;
    });
    frame.classList.add("ready");
    separate(buttons, frame);
  }

  boxes.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    const at = buttons.indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    const position = (at + step + buttons.length) % buttons.length;
    buttons[position].focus();
    choose(position);
  });
  image.addEventListener("load", place);
  if (picture.url === null) {
    frame.replaceChildren(el("p", { class: "unshown" }, icon("photo"), "This photo cannot be shown here. Its faces are listed."));
    announce("This photo cannot be shown here.");
  }
  new ResizeObserver(() => frame.classList.contains("ready") && separate(buttons, frame)).observe(frame);

  function relabel(position, face) {
    write(buttons[position], face, position);
    separate(buttons, frame);
  }

  return { element: made, select, relabel };
}

/** Results by where their faces are, from left to right: as people would name them. */
export const fromTheLeft = (results) => [...results].sort((a, b) => a.box[0] + a.box[2] - b.box[0] - b.box[2]);

function faceButton(face, position, onclick) {
  const made = el("button", { type: "button", "aria-pressed": "false", onclick });
  write(made, face, position);
  return made;
}

function write(made, face, position) {
  made.className = `facebox ${face.tone}`;
  made.setAttribute("aria-label", face.description);
  made.replaceChildren(
    el("span", { class: "tag" }, el("b", null, String(position + 1)), el("span", null, face.label)),
  );
}

/**
 * Tags go below their face or above it, wherever they cover nothing. Where there is no room for all of them, the face
 * that is chosen has its tag, and the others their number.
 */
function separate(buttons, frame) {
  const bounds = frame.getBoundingClientRect();
  const boxes = buttons.map((each) => each.getBoundingClientRect());
  const taken = [];
  let crowded = false;
  buttons.forEach((each, index) => {
    const tag = each.firstElementChild;
    const others = boxes.filter((_, other) => other !== index);
    const costs = ["below", "above"].map((side) => {
      const spot = putAt(tag, side, bounds);
      const outside = spot.bottom > bounds.bottom + 1 || spot.top < bounds.top - 1 || spot.width > bounds.width;
      const covered = outside + taken.filter((other) => meet(spot, other)).length;
      return 100 * covered + others.filter((other) => meet(spot, other)).length;
    });
    crowded ||= Math.min(...costs) >= 100;
    taken.push(putAt(tag, costs[1] < costs[0] ? "above" : "below", bounds));
  });
  if (!crowded) return;
  for (const each of buttons) {
    if (each.getAttribute("aria-pressed") === "false") each.firstElementChild.className = "tag short";
  }
}

/** Place a tag on one side of its face, pushed back into the photo; where it lies then. */
function putAt(tag, side, bounds) {
  tag.className = `tag ${side}`;
  tag.style.setProperty("--shift", "0px");
  const spot = tag.getBoundingClientRect();
  const shift = Math.max(bounds.left - spot.left, Math.min(0, bounds.right - spot.right));
  if (shift) tag.style.setProperty("--shift", `${shift}px`);
  return tag.getBoundingClientRect();
}

function meet(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}
