// A photo as something the browser can draw: itself, or the server's picture of it.

import * as api from "./api.js";

/**
 * Resolves to `{ url, scale }`: where the picture is, and how many of its pixels make one of the photo. `url` is null
 * where nobody can show it. `release` takes it back.
 */
export async function pictureOf(photo) {
  const own = await shown(photo);
  if (own) return { url: own.url, scale: 1 };
  try {
    const { blob, width } = await api.preview(photo); // TIFF and HEIC in most browsers
    const made = await shown(blob);
    if (made) return { url: made.url, scale: made.width / width };
  } catch {
    // Then it is not shown; what is in it is listed all the same.
  }
  return { url: null, scale: 1 };
}

export function release(picture) {
  if (picture?.url) URL.revokeObjectURL(picture.url);
}

async function shown(blob) {
  const url = URL.createObjectURL(blob);
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
    return { url, width: image.naturalWidth };
  } catch {
    URL.revokeObjectURL(url);
    return null;
  }
}
