// What is known about a person beside the name: keys and values, to be read, searched by, and changed.

import * as api from "./api.js";
import { announce, button, el, failure } from "./dom.js";

/** The section of a person's page. */
export function attributesSection(person, editable) {
  const body = el("div", null);
  const title = el("h2", { id: "attributes-title" }, "Attributes");
  const edit = editable ? button("Edit", () => editing(person, body, edit)) : null;
  reading(person, body);
  return el("section", { "aria-labelledby": "attributes-title" }, el("div", { class: "heading" }, title, edit), body);
}

function reading(person, body) {
  const entries = Object.entries(person.attributes);
  if (!entries.length) return body.replaceChildren(el("p", { class: "hint" }, "None. Useful ones: team, source, consent, retain_until."));
  body.replaceChildren(
    el(
      "dl",
      { class: "facts" },
      entries.map(([key, value]) => {
        const found = new URLSearchParams({ where: `${key}=${value}` });
        return el("div", null, el("dt", null, key), el("dd", null, el("a", { href: `#/people?${found}` }, value || "(empty)")));
      }),
    ),
  );
}

function editing(person, body, edit) {
  edit.hidden = true;
  const rows = el("div", { class: "attribute-rows" });
  const add = (key = "", value = "") => {
    const row = el(
      "div",
      { class: "attribute-row" },
      el("input", { type: "text", value: key, "aria-label": "Attribute", placeholder: "attribute" }),
      el("input", { type: "text", value, "aria-label": "Value", placeholder: "value" }),
      button("Remove", () => row.remove(), { kind: "link", "aria-label": `Remove ${key || "this attribute"}` }),
    );
    rows.append(row);
    return row;
  };
  for (const [key, value] of Object.entries(person.attributes)) add(key, value);
  if (!rows.childElementCount) add();
  const problem = el("div", null);

  function finish() {
    edit.hidden = false;
    reading(person, body);
    edit.focus();
  }

  async function save(event) {
    event.preventDefault();
    const wanted = new Map();
    for (const row of rows.children) {
      const [key, value] = [...row.querySelectorAll("input")].map((each) => each.value.trim());
      if (key) wanted.set(key, value);
    }
    const gone = Object.keys(person.attributes).filter((key) => !wanted.has(key));
    const changes = Object.fromEntries([...gone.map((key) => [key, null]), ...wanted]);
    try {
      person.attributes = (await api.setAttributes(person.id, changes)).attributes;
      finish();
      announce("Saved");
    } catch (error) {
      problem.replaceChildren(failure(error));
    }
  }

  body.replaceChildren(
    el(
      "form",
      { onsubmit: save },
      rows,
      problem,
      el(
        "div",
        { class: "actions" },
        button("Add another", () => add().querySelector("input").focus()),
        el("button", { type: "submit", class: "primary" }, "Save"),
        button("Cancel", finish, { kind: "quiet" }),
      ),
    ),
  );
  rows.querySelector("input")?.focus();
}
