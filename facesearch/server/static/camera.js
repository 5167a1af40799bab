// Taking a photo: the camera in a dialog, or the system's own camera where a page may not use it.

import { show } from "./dialogs.js";
import { button, el, icon } from "./dom.js";

/** Whether the browser lets a page see the camera: it does on localhost and over HTTPS. */
export const available = () => Boolean(navigator.mediaDevices?.getUserMedia);

/** Resolves to a JPEG file, or null where nobody took one. */
export async function takePhoto() {
  let stream = null;
  let gone = false;
  const taken = await show("Take a photo", (close) => {
    const video = el("video", { autoplay: true, muted: true, playsinline: true, "aria-label": "Live camera picture" });
    const message = el("p", { class: "hint", role: "status" }, "Waiting for the camera…");
    const take = button("Take photo", () => snap(video).then(close), { kind: "primary", glyph: "camera", disabled: true });
    navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 1280 } }, audio: false }).then(
      (found) => {
        stream = found;
        if (gone) return stop(stream);
        video.srcObject = found;
        video.addEventListener("loadeddata", () => {
          message.textContent = "The photo is searched and not kept.";
          take.disabled = false;
          take.focus();
        });
      },
      (error) => message.replaceChildren(icon("warning"), ` ${refusal(error)}`),
    );
    return [video, message, el("div", { class: "actions end" }, button("Cancel", () => close(null)), take)];
  });
  gone = true;
  stop(stream);
  return taken;
}

function refusal(error) {
  if (error.name === "NotAllowedError") return "The camera may not be used. Allow it in the browser's address bar.";
  return "There is no camera that can be used. Choose a photo instead.";
}

function stop(stream) {
  for (const each of stream?.getTracks() ?? []) each.stop();
}

async function snap(video) {
  const canvas = el("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
  return new File([blob], "camera.jpg", { type: "image/jpeg" });
}
