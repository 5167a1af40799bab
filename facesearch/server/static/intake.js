// Where photos come in: dropped, pasted, chosen or taken.

import { available, takePhoto } from "./camera.js";
import { button, el, fileButton, icon, PHOTOS } from "./dom.js";

/** A place for photos; `onphotos` hears the files. While `signal` lives the whole window takes drops and pastes. */
export function photoIntake(onphotos, signal) {
  const zone = el(
    "section",
    { class: "intake", "aria-label": "Choose photos" },
    el("div", { class: "emblem" }, icon("photo")),
    el("p", { class: "lead" }, "Drop or paste photos"),
    el(
      "div",
      { class: "actions" },
      fileButton("Choose photos", onphotos, { kind: "primary", accept: PHOTOS, multiple: true }),
      available()
        ? button("Use the camera", () => takePhoto().then((file) => file && onphotos([file])), { glyph: "camera" })
        : fileButton("Take a photo", onphotos, {
            glyph: "camera",
            accept: "image/*",
            capture: "environment",
          }),
    ),
    el("p", { class: "hint" }, "Photos are searched and not kept."),
  );
  takeDrops(zone, ({ files }) => files.length && onphotos([...files]), signal);
  addEventListener(
    "paste",
    (event) => {
      const files = [...(event.clipboardData?.files ?? [])].filter((each) => each.type.startsWith("image/"));
      if (!files.length) return;
      event.preventDefault();
      onphotos(files);
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
