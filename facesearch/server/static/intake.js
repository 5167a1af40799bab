// Where photos come in: dropped, pasted, chosen or taken.

import { available, takePhoto } from "./camera.js";
import { button, el, fileButton, icon } from "./dom.js";

/** A place for one photo; `onphoto` hears the file. While `signal` lives the whole window takes drops and pastes. */
export function photoIntake(onphoto, signal) {
  const zone = el(
    "section",
    { class: "intake", "aria-label": "Choose a photo" },
    el("div", { class: "emblem" }, icon("photo")),
    el("p", { class: "lead" }, "Drop or paste a photo"),
    el(
      "div",
      { class: "actions" },
      fileButton("Choose a photo", ([file]) => onphoto(file), { kind: "primary", accept: "image/*" }),
      available()
        ? button("Use the camera", () => takePhoto().then((file) => file && onphoto(file)), { glyph: "camera" })
        : fileButton("Take a photo", ([file]) => onphoto(file), {
            glyph: "camera",
            accept: "image/*",
            capture: "environment",
          }),
    ),
    el("p", { class: "hint" }, "The photo is searched and not kept."),
  );
  takeDrops(zone, ({ files }) => files.length && onphoto(files[0], { others: files.length - 1 }), signal);
  addEventListener(
    "paste",
    (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
      if (!file) return;
      event.preventDefault();
      onphoto(file);
    },
    { signal },
  );
  return zone;
}

/** While `signal` lives, files dropped anywhere go to `take`, and `zone` shows that they may be. */
export function takeDrops(zone, take, signal) {
  let depth = 0;
  const mark = () => zone.classList.toggle("over", depth > 0);
  const isFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => isFiles(event) && ((depth += 1), mark()), { signal });
  addEventListener("dragleave", (event) => isFiles(event) && ((depth = Math.max(0, depth - 1)), mark()), { signal });
  addEventListener(
    "drop",
    (event) => {
      depth = 0;
      mark();
      if (isFiles(event)) take(event.dataTransfer);
    },
    { signal },
  );
}
