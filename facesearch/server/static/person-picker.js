// Naming a person: somebody who is there, offered while typing, or a new name.

import * as api from "./api.js";
import { el } from "./dom.js";

const OFFERED = 8;
const QUIET = 150; // ms without typing before the server is asked

let made = 0;

const plain = (name) => name.normalize("NFKD").replace(/[\p{Mn}\p{Cf}]/gu, "").toLowerCase().replace(/[\s_.-]+/gu, " ").trim();

/** Calls `task` when nothing was typed for a moment. */
export function settled(task) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => task(...given), QUIET);
  };
}

/** A text field that offers the names of people. `existing` allows nobody new; `without` leaves one id out. */
export function personField(label, { value = "", existing = false, without = null } = {}) {
  const id = `names-${(made += 1)}`;
  const list = el("datalist", { id });
  const note = el("small", { class: "hint", role: "status" });
  const input = el("input", { type: "text", value, list: id, maxlength: "1000", autocomplete: "off", required: true });
  let known = [];

  const look = settled(async () => {
    const typed = input.value.trim();
    try {
      const found = await api.subjects({ search: typed, limit: OFFERED });
      known = found.subjects.filter((each) => each.id !== without);
    } catch {
      known = null; // the field still takes a name
    }
    list.replaceChildren(...(known ?? []).map((each) => el("option", { value: each.subject })));
    describe();
  });

  function chosen() {
    return known?.find((each) => each.subject === input.value.trim()) ?? null;
  }

  /** Somebody whose name differs in case, accents or underscores only. */
  const alike = (typed) => known.find((each) => plain(each.subject) === plain(typed));

  function describe() {
    const typed = input.value.trim();
    const found = chosen();
    if (!typed || !known) note.textContent = ""; // a key may enroll and not be told who is there
    else if (found) note.textContent = `${found.subject} has ${found.photos} photo${found.photos === 1 ? "" : "s"} so far.`;
    else if (existing) note.textContent = "Nobody of that name is enrolled.";
    else note.textContent = alike(typed) ? `A new person. Or do you mean ${alike(typed).subject}, who is enrolled?` : "A new person.";
  }

  input.addEventListener("input", look);
  input.addEventListener("focus", look);
  if (value) look();
  return {
    element: el("label", { class: "field" }, el("span", null, label), input, list, note),
    name: () => input.value.trim(),
    chosen,
    focus: () => input.focus(),
  };
}
