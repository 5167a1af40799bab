// What people corrected, newest first, and a button that takes each back.

import * as api from "./api.js";
import { attempt } from "./dialogs.js";
import { announce, button, el, failure, loading } from "./dom.js";

const PAGE = 20;

/** The history, page by page. */
export function corrections() {
  const list = el("ul", { class: "corrections" });
  const more = el("div", null);

  const add = async (before = null) => {
    more.replaceChildren(loading("Loading the history…", 2));
    try {
      const { entries } = await api.history({ limit: PAGE, before });
      list.append(...entries.map((each) => line(each, undo)));
      more.replaceChildren(entries.length === PAGE ? button("Show more", () => add(entries.at(-1).id)) : "");
      if (!list.childElementCount) more.append(el("p", { class: "hint" }, "Nothing was corrected yet."));
    } catch (error) {
      more.replaceChildren(failure(error, () => add(before)));
    }
  };

  const undo = (entry) =>
    attempt("Nothing was undone", async () => {
      await api.undo(entry.id);
      list.replaceChildren();
      await add();
      announce(`Undone: ${entry.what}`);
    });

  add();
  return el("div", { class: "found" }, list, more);
}

function line(entry, undo) {
  const past = entry.undone_by !== null ? `undone by entry ${entry.undone_by}` : entry.undoable ? null : "can no longer be undone";
  const facts = [`Entry ${entry.id}`, moment(entry.at), entry.actor, past].filter(Boolean).join(" · ");
  return el(
    "li",
    null,
    el("div", null, el("b", null, entry.what), el("small", null, facts)),
    past === null && button("Undo", () => undo(entry), { "aria-label": `Undo: ${entry.what}` }),
  );
}

const moment = (iso) => new Date(iso).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
