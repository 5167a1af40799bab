// A photo that was not enrolled, with its reason and the ways to mend it; or one that was, and needs a look.

import * as api from "./api.js";
import { announce, button, el, failure, fileButton, icon, PHOTOS } from "./dom.js";
import { pictureOf } from "./picture.js";
import { may } from "./server-info.js";
import { fromTheLeft, stage } from "./stage.js";
import { further, POOR, reason } from "./words.js";

/** A card for one entry and what the server said of it; `onresolved(card, enrolled)` hears when it is settled. */
export function refused(entry, record, { strict, onresolved }) {
  const preview = el("img", { class: "preview", alt: "", loading: "lazy" });
  preview.src = URL.createObjectURL(entry.file);
  preview.addEventListener("error", () => preview.replaceWith(el("span", { class: "preview none" }, icon("photo"))));
  const body = el("div", { class: "refusal-body" });
  const card = el("li", { class: "refusal" }, preview, body);
  show(record);

  function show(told) {
    const enrolled = told.status === "enrolled";
    card.classList.remove("choosing");
    body.replaceChildren(
      el("p", { class: "who" }, el("b", null, entry.person), " ", el("small", null, entry.path)),
      el("p", { class: "why" }, reason(told.reason), el("small", null, further(told.reason, told.detail))),
      enrolled ? seePerson(told) : el("div", { class: "actions" }, ...remedies(told)),
    );
  }

  function remedies({ reason: code }) {
    const retry = (options) => () => send(options);
    const found = [];
    if (code === "multiple_faces") {
      const choosing = button("Choose the face", choose, { kind: "primary", hidden: true });
      may("read").then((allowed) => (choosing.hidden = !allowed)); // it takes detecting them first
      found.push(choosing, button("Take the largest", retry({ faces: "largest" })));
    } else if (POOR.has(code)) found.push(button("Accept anyway", retry({ anyQuality: true }), { kind: "primary" }));
    else if (code === "identity_conflict") found.push(button("Enroll all the same", retry({ strict: false }), { kind: "primary" }));
    else found.push(fileButton("Use another photo", ([file]) => replace(file), { accept: PHOTOS }));
    found.push(button("Leave out", () => leaveOut(), { kind: "quiet" }));
    return found;
  }

  /** The same bytes would be refused again: another photo of the same person takes the place. */
  function replace(file) {
    entry = { ...entry, file, path: file.name };
    URL.revokeObjectURL(preview.src);
    preview.src = URL.createObjectURL(file);
    card.prepend(preview);
    card.querySelector(".none")?.remove();
    send({});
  }

  function leaveOut() {
    URL.revokeObjectURL(preview.src);
    onresolved(card, false);
  }

  let choices = {};

  async function send(options) {
    choices = { strict, ...choices, ...options };
    for (const each of body.querySelectorAll("button")) each.disabled = true;
    try {
      const [told] = (await api.enroll([entry.file], entry.who, choices)).results;
      if (told.status === "rejected") {
        show(told);
        announce(`Still not enrolled. ${reason(told.reason)}`);
        body.querySelector("button").focus();
        return;
      }
      settled(told);
    } catch (error) {
      show(record);
      body.append(failure(error));
    }
  }

  function settled(told) {
    card.classList.remove("choosing");
    card.classList.add("settled");
    body.replaceChildren(
      el("p", { class: "who" }, el("b", null, entry.person), " ", el("small", null, entry.path)),
      el("p", { class: "done" }, icon("check"), told.reason ? `Enrolled. But look: ${told.detail ?? reason(told.reason)}` : "Enrolled."),
    );
    announce(`${entry.path} is enrolled`);
    onresolved(card, true);
  }

  async function choose() {
    for (const each of body.querySelectorAll("button")) each.disabled = true;
    try {
      const [{ results }, picture] = await Promise.all([api.detect(entry.file), pictureOf(entry.file)]);
      pick(fromTheLeft(results), picture);
    } catch (error) {
      show(record);
      body.append(failure(error));
    }
  }

  function pick(results, picture) {
    const faces = results.map((each, index) => ({ box: each.box, tone: "plain", label: "", description: `Face ${index + 1} of ${results.length}` }));
    let chosen = null;
    const onselect = (position) => {
      chosen = results[position];
      use.disabled = false;
    };
    const photo = stage({ picture, name: entry.path, faces, onselect });
    const use = button(`This is ${entry.person}`, () => send({ faces: String(chosen.face) }), { kind: "primary", disabled: true });
    card.classList.add("choosing");
    body.replaceChildren(
      el("p", { class: "who" }, "Which face is ", el("b", null, entry.person), "? ", el("small", null, entry.path)),
      photo.element,
      el("div", { class: "actions" }, use, button("Back", () => show(record), { kind: "quiet" })),
    );
    body.querySelector(".facebox")?.focus();
  }

  return card;
}

function seePerson(told) {
  return told.subject_id ? el("div", { class: "actions" }, el("a", { href: `#/people/${told.subject_id}` }, `Open ${told.subject}`)) : null;
}
