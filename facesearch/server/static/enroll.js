// Enroll: folders in, one per person; what will happen; then the run.

import { announce, button, count, el, fileButton, icon, PHOTOS } from "./dom.js";
import { enrolment } from "./enrolment.js";
import { portrait } from "./faces.js";
import { chosen, dropped, sorted } from "./folder.js";
import { takeDrops } from "./intake.js";
import { personField } from "./person-picker.js";

export const needs = "enroll";
export const title = "Enroll";

const LISTED = 60; // people in the plan

/** The run in hand goes on while other views are looked at. */
let running = null;

export async function mount(place, signal) {
  const shown = el("div", null);
  place.append(el("h1", null, title));
  const take = async (files) => {
    if (running?.busy()) return announce("An enrolment is running.");
    plan(sorted(await files));
  };
  const zone = intake(take);
  takeDrops(zone, (transfer) => take(dropped(transfer)), signal);
  place.append(zone, shown);
  if (running) shown.append(running.element);
  zone.classList.toggle("slim", running !== null);

  function plan({ entries, passedOver }) {
    zone.classList.add("slim");
    if (!entries.length) {
      shown.replaceChildren(el("div", { class: "notice" }, icon("warning"), el("p", null, "No photos were found there. Photos are JPEG, PNG, WebP, AVIF, TIFF, BMP or HEIC files.")));
      return;
    }
    shown.replaceChildren(planned(entries, passedOver, start));
    shown.querySelector("h2").focus();
  }

  function start(entries, strict) {
    running = enrolment(entries, { strict });
    shown.replaceChildren(running.element);
    running.start();
  }
}

function intake(take) {
  return el(
    "section",
    { class: "intake", "aria-label": "Choose photos" },
    el("div", { class: "emblem" }, icon("folder")),
    el("p", { class: "lead" }, "Drop a folder with one folder per person"),
    el(
      "div",
      { class: "actions" },
      fileButton("Choose a folder", (files) => take(chosen(files)), { kind: "primary", glyph: "folder", webkitdirectory: true }),
      fileButton("Choose photos of one person", (files) => take(chosen(files)), { accept: PHOTOS, multiple: true }),
    ),
    el("p", { class: "hint" }, "Faces become templates; the photos themselves are not kept. What is reported as enrolled is on disk."),
  );
}

function planned(entries, passedOver, start) {
  const people = new Map();
  for (const each of entries) people.set(each.person, (people.get(each.person) ?? 0) + 1);
  const unnamed = people.get("") ?? 0;
  people.delete("");
  const who = unnamed ? personField(`Who is in the ${count(unnamed, "photo")} without a folder?`) : null;
  const strict = el("input", { type: "checkbox" });
  const names = [...people].slice(0, LISTED);
  const submit = (event) => {
    event.preventDefault();
    const named = entries.map((each) => ({ ...each, person: each.person || who.name() }));
    start(named.map((each) => ({ ...each, who: { name: each.person } })), strict.checked);
  };
  const summary = [
    people.size ? count(people.size, "person", "people") : null,
    count(entries.length, "photo"),
    passedOver ? `${count(passedOver, "other file")} passed over` : null,
  ];
  return el(
    "form",
    { class: "plan", onsubmit: submit },
    el("h2", { tabindex: "-1" }, summary.filter(Boolean).join(", ")),
    who?.element,
    el(
      "ul",
      { class: "plan-people", tabindex: "0", "aria-label": "People" },
      names.map(([name, photos]) => el("li", null, portrait(name), el("b", null, name), el("small", null, String(photos)))),
    ),
    people.size > LISTED ? el("p", { class: "hint" }, `and ${count(people.size - LISTED, "more person", "more people")}`) : null,
    el("label", { class: "check" }, strict, "Reject photos that match somebody else who is enrolled"),
    el("div", { class: "actions" }, el("button", { type: "submit", class: "primary" }, `Enroll ${count(entries.length, "photo")}`)),
  );
}
