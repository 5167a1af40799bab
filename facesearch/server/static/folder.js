// From dropped or chosen folders to photos with the person each belongs to: one folder per person.

const PHOTO = /\.(jpe?g|png|webp|bmp|tiff?|avif|heic|heif)$/iu;

/** `{ file, path }` for everything that was dropped. Call it at once: a drop's items are gone after the event. */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, path: file.name }));
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return found;
}

async function walk(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ file, path: entry.fullPath.replace(/^\//u, "") });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // A reader hands out at most 100 at a time, and nothing when it is done.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const each of some) await walk(each, found);
  }
}

/** The same for the files of an input, which has paths where a folder was chosen. */
export const chosen = (files) => files.map((file) => ({ file, path: file.webkitRelativePath || file.name }));

/**
 * Who is in which photo: the folder below the one that was given, or that one itself for photos that lie right in it.
 * Returns `{ entries: [{ file, path, person }], passedOver }`; `person` is "" for photos without a folder.
 */
export function sorted(found) {
  const photos = found.filter(({ path }) => PHOTO.test(path) && !hidden(path));
  const entries = photos.map(({ file, path }) => {
    const folders = path.split("/").slice(0, -1);
    return { file, path, person: folders[1] ?? folders[0] ?? "" };
  });
  entries.sort((a, b) => (a.path < b.path ? -1 : 1));
  return { entries, passedOver: found.length - photos.length };
}

const hidden = (path) => path.split("/").some((part) => part.startsWith("."));
