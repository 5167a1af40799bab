// A photo with a button over every face, scaled with it.

import { announce, el, icon } from "./dom.js";

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/**
 * Faces are `{ box, tone, label, description }`, boxes in pixels of the upright photo. `onselect` hears the position of
 * the face that is clicked or moved to with the arrow keys.
 */
export function stage({ url, name, faces, onselect }) {
  const image = el("img", { src: url, alt: `Photo ${name}`, draggable: "false" });
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
  }

  function place() {
    const [width, height] = [image.naturalWidth, image.naturalHeight];
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
  image.addEventListener("error", () => {
    frame.replaceChildren(
      el("p", { class: "unshown" }, icon("photo"), "Your browser cannot show this kind of file. Its faces are listed."),
    );
    announce("Your browser cannot show this photo.");
  });
  new ResizeObserver(() => frame.classList.contains("ready") && separate(buttons, frame)).observe(frame);

  function relabel(position, face) {
    write(buttons[position], face, position);
    separate(buttons, frame);
  }

  return { element: made, select, relabel };
}

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

/** Tags that would cover another, or stick out, shrink to their number. */
function separate(buttons, frame) {
  const bounds = frame.getBoundingClientRect();
  const taken = [];
  for (const each of buttons) {
    const tag = each.firstElementChild;
    tag.classList.remove("short", "inside");
    tag.style.removeProperty("--shift");
    let spot = tag.getBoundingClientRect();
    if (spot.bottom > bounds.bottom) tag.classList.add("inside");
    const shift = Math.min(0, bounds.right - spot.right) || Math.max(0, bounds.left - spot.left);
    if (shift) tag.style.setProperty("--shift", `${shift}px`);
    spot = tag.getBoundingClientRect();
    const covers = taken.some(
      (other) =>
        spot.left < other.right && other.left < spot.right && spot.top < other.bottom && other.top < spot.bottom,
    );
    if (covers || spot.width > bounds.width) {
      tag.classList.add("short");
      tag.style.removeProperty("--shift");
      spot = tag.getBoundingClientRect();
    }
    taken.push(spot);
  }
}
