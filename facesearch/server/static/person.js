// One person: photos, attributes, look-alikes; rename, merge, remove, erase.

import * as api from "./api.js";
import { attributesSection } from "./attributes.js";
import { ask, attempt, confirm, show } from "./dialogs.js";
import { announce, breakable, button, count, el, failure, fileButton, icon, loading, PHOTOS } from "./dom.js";
import { portrait } from "./faces.js";
import { enrolment } from "./enrolment.js";
import { personField } from "./person-picker.js";
import { axis, lowEnd, track } from "./scale.js";
import { may } from "./server-info.js";
import { showReceipt } from "./receipt.js";
import { date, fileName, photoName, score, signed } from "./words.js";

export const needs = "read";
export const title = "Person";
export const kind = "person";

/** `adding` is a run of photos that goes on to be shown. */
export async function mount(place, signal, { id, adding = el("div", null) }) {
  place.replaceChildren(loading("Loading…", 4));
  const [person, { photos }, enroll, remove] = await Promise.all([
    api.subject(id),
    api.photosOf(id),
    may("enroll"),
    may("delete"),
  ]);
  if (signal.aborted) return;
  document.title = `${person.subject} · facesearch`;
  const again = async (kept) => signal.aborted || mount(place, signal, { id, adding: kept });
  place.replaceChildren(
    el("p", { class: "back" }, el("a", { href: "#/people" }, icon("back"), "People")),
    head(person, photos, { enroll, remove, again }),
    photosSection(person, photos, { enroll, remove, adding, again }),
    attributesSection(person, enroll),
    await lookAlikes(person, remove),
  );
}

function head(person, photos, { enroll, remove, again }) {
  const first = photos.find((each) => each.thumbnail);
  return el(
    "header",
    { class: "person-head" },
    portrait(person.subject, { photoId: first?.id ?? null, size: "large" }),
    el(
      "div",
      null,
      el("h1", { tabindex: "-1" }, person.subject),
      person.aliases.length > 0 && el("p", { class: "sub" }, `Also called ${person.aliases.join(", ")}`),
      el("p", { class: "sub" }, `${count(person.photos, "photo")}, ${count(person.templates, "template")}, since ${date(person.created_at)}`),
    ),
    el(
      "div",
      { class: "actions" },
      enroll && button("Rename", () => renaming(person, again)),
      remove && button("Merge", () => merging(person)),
      remove && button("Remove", () => removingPerson(person)),
      remove && button("Erase", () => erasing(person), { kind: "danger-quiet" }),
    ),
  );
}

async function renaming(person, again) {
  const name = await ask("Rename", "New name", { value: person.subject, yes: "Rename" });
  if (name === null || name === person.subject) return;
  await attempt("The name is as it was", async () => {
    await api.rename(person.id, name);
    await again();
    announce(`Renamed to ${name}`);
    document.querySelector("h1")?.focus();
  });
}

/** Choose who takes over; `into` is offered first. */
export async function merging(person, into = null) {
  const target = into ?? (await chooseTarget(person));
  if (!target) return;
  const sure = await confirm(
    `Merge ${person.subject} into ${target.subject}?`,
    [
      el("p", null, `All photos of ${person.subject} (${person.photos}) become photos of ${target.subject}.`),
      el("p", null, `${person.subject} becomes another name of ${target.subject}. The history in the report can undo it.`),
    ],
    { yes: "Merge" },
  );
  if (!sure) return;
  await attempt("Nothing was merged", async () => {
    await api.merge(person.id, target.id);
    announce(`Merged into ${target.subject}`);
    location.hash = `#/people/${target.id}`;
  });
}

function chooseTarget(person) {
  return show(`Merge ${person.subject} into…`, (close) => {
    const who = personField("Person who stays", { existing: true, without: person.id });
    const form = el(
      "form",
      {
        onsubmit: (event) => {
          event.preventDefault();
          if (who.chosen()) close(who.chosen());
          else who.focus();
        },
      },
      who.element,
      el(
        "div",
        { class: "actions end" },
        button("Cancel", () => close(null)),
        el("button", { type: "submit", class: "primary" }, "Continue"),
      ),
    );
    setTimeout(who.focus, 0);
    return [form];
  });
}

async function removingPerson(person) {
  const lines = [el("p", null, `${person.subject} and ${count(person.photos, "photo")} leave the gallery. The history in the report can undo it for 30 days.`)];
  if (!(await confirm(`Remove ${person.subject}?`, lines, { yes: "Remove" }))) return;
  await attempt("Nothing was removed", async () => {
    await api.removePerson(person.id);
    announce("Removed");
    location.hash = "#/people";
  });
}

async function erasing(person) {
  const attributes = Object.keys(person.attributes).length;
  const sure = await confirm(
    `Erase ${person.subject}?`,
    [
      el("p", null, "Gone for good, also from backups that are restored here later:"),
      el(
        "ul",
        null,
        el("li", null, "the name"),
        el("li", null, `${count(person.templates, "template")} of ${count(person.photos, "photo")}, and what was measured on them`),
        attributes ? el("li", null, count(attributes, "attribute")) : null,
        el("li", null, "pictures of the face, and vectors that evaluations of the same photos left"),
      ),
      el("p", null, "Then every file of the gallery is searched for what was removed, and you get a receipt."),
      el("p", null, "What stays: photo files in folders they were enrolled from, and backups until you delete them."),
    ],
    { yes: "Erase for good" },
  );
  if (!sure) return;
  await attempt("Nothing was erased", async () => {
    const receipt = await api.erase(person.id);
    await showReceipt(receipt);
    location.hash = "#/people"; // not before: another view closes dialogs
  });
}

function photosSection(person, photos, { enroll, remove, adding, again }) {
  const add = (files) => {
    const entries = files.map((file) => ({ file, who: { id: person.id }, person: person.subject, path: file.name }));
    const run = enrolment(entries, { ondone: (refused) => again(refused ? adding : undefined), quiet: true });
    adding.replaceChildren(run.element);
    run.start();
  };
  return el(
    "section",
    { "aria-labelledby": "photos-title" },
    el(
      "div",
      { class: "heading" },
      el("h2", { id: "photos-title" }, "Photos"),
      enroll && fileButton("Add photos", add, { accept: PHOTOS, multiple: true }),
    ),
    adding,
    el("ul", { class: "photo-grid" }, photos.map((photo) => photoCard(person, photo, remove, again))),
  );
}

function photoCard(person, photo, remove, again) {
  const removing = async () => {
    const last = person.photos === 1;
    const lines = [
      el("p", null, `The photo and ${count(photo.faces.length, "template")} are removed. The history in the report can undo it for 30 days. A file in a folder stays.`),
      last ? el("p", null, el("b", null, `It is the only photo: ${person.subject} goes too where nothing else is known of the person.`)) : null,
    ].filter(Boolean);
    if (!(await confirm("Remove this photo?", lines, { yes: "Remove" }))) return;
    await attempt("Nothing was removed", async () => {
      await api.removePhoto(person.id, photo.id);
      announce("Removed");
      if (last) location.hash = "#/people";
      else await again();
    });
  };
  return el(
    "li",
    { class: "photo-card" },
    portrait(person.subject, { photoId: photo.thumbnail ? photo.id : null, size: "card" }),
    el("b", { title: photo.photo }, breakable(photoName(photo.photo))),
    photo.faces.map((face) => quality(face)),
    el("small", null, `${photo.width} × ${photo.height}, ${date(photo.enrolled_at)}`),
    remove && button("Remove", removing, { kind: "link", "aria-label": `Remove ${fileName(photo.photo)}` }),
  );
}

function quality({ detection_score: detection, quality: measured }) {
  const rows = [
    ["detection", score(detection)],
    ["face", `${Math.round(measured.size)} px`],
    ["sharpness", Math.round(measured.sharpness).toLocaleString("en")],
    ["turned", signed(measured.yaw, 2)],
    ["tilted", `${signed(measured.roll, 0)}°`],
  ];
  return el("dl", { class: "measures" }, rows.map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, value))));
}

async function lookAlikes(person, remove) {
  const section = el("section", { "aria-labelledby": "alike-title" }, el("h2", { id: "alike-title" }, "Look-alikes"));
  try {
    const { threshold, results } = await api.lookAlikes(person.id);
    if (!results.length) section.append(el("p", { class: "hint" }, "Nobody else is enrolled."));
    else section.append(...alikeList(person, threshold, results, remove));
  } catch (error) {
    section.append(failure(error));
  }
  return section;
}

function alikeList(person, threshold, results, remove) {
  const low = lowEnd(results.map((each) => each.score));
  const near = results.some((each) => each.score >= threshold);
  return [
    el("p", { class: near ? "warn" : "hint" }, near
      ? "Somebody reaches the threshold: are they one person who is enrolled twice? Look before you merge."
      : "Nobody reaches the threshold: none of them would be taken for this person."),
    axis(threshold, low),
    el(
      "ul",
      { class: "candidates" },
      results.map((each) =>
        el(
          "li",
          null,
          el(
            "a",
            { class: "pick", href: `#/people/${each.subject_id}` },
            portrait(each.subject, { photoId: each.other_photo_id }),
            el("span", { class: "who" }, el("b", null, each.subject)),
            el("span", { class: "number" }, score(each.score)),
            track(each.score, threshold, low),
          ),
          each.score >= threshold && remove
            ? el("div", { class: "row-actions" }, button("Merge into them", () => merging(person, { id: each.subject_id, subject: each.subject }), { kind: "link" }))
            : null,
        ),
      ),
    ),
  ];
}
