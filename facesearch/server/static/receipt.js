// What the server proves when somebody is erased.

import { show } from "./dialogs.js";
import { announce, button, count, el, icon } from "./dom.js";

/** Show a receipt until it is closed; it can be saved, as `facesearch people forget --receipt` does. */
export function showReceipt(receipt) {
  const { removed, clean, backups_since_enrolment: backups, photos_that_stay_for_others: others } = receipt;
  const verdict = clean
    ? "Every file of the gallery was searched: nothing is left."
    : "The person is gone from the database, but a file still holds some of it: the receipt says which.";
  announce(`Erased. ${verdict}`);
  return show("Erased", (close) => [
    el("div", { class: `notice ${clean ? "good" : "bad"}` }, icon(clean ? "check" : "warning"), el("p", null, verdict)),
    el(
      "ul",
      null,
      el("li", null, `${count(removed.templates, "template")} of ${count(removed.photos, "photo")}`),
      removed.cached_embeddings ? el("li", null, count(removed.cached_embeddings, "vector kept by evaluations", "vectors kept by evaluations")) : null,
      others ? el("li", null, `${count(others, "photo stays", "photos stay")}: other people are enrolled from it too`) : null,
    ),
    backups ? el("p", { class: "warn" }, `${count(backups, "backup was", "backups were")} made since the enrolment: delete what must not keep this person.`) : null,
    el(
      "div",
      { class: "actions end" },
      button("Save the receipt", () => save(receipt)),
      button("Close", () => close(null), { kind: "primary", autofocus: true }),
    ),
  ].filter(Boolean));
}

function save(receipt) {
  const url = URL.createObjectURL(new Blob([JSON.stringify(receipt, null, 2)], { type: "application/json" }));
  el("a", { href: url, download: "receipt.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
