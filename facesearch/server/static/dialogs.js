// Dialogs on the browser's own <dialog>: it traps the focus, closes on Escape and gives the focus back.

import { button, el, failure } from "./dom.js";

let made = 0;

/** Show a dialog; resolves to what `close` is given, or null where it is dismissed. `fill(close)` makes its content. */
export function show(title, fill, { danger = false } = {}) {
  return new Promise((resolve) => {
    const id = `dialog-${(made += 1)}`;
    const dialog = el("dialog", { "aria-labelledby": id, class: danger ? "danger" : "" });
    let result = null;
    const close = (value) => {
      result = value;
      dialog.close();
    };
    dialog.append(el("h2", { id }, title), ...fill(close));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(result);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Ask before something is gone. Resolves to whether it may go. */
export async function confirm(title, lines, { yes, no = "Keep", danger = true }) {
  const answer = await show(
    title,
    (close) => [
      ...lines,
      el(
        "div",
        { class: "actions end" },
        button(no, () => close(false), { autofocus: true }),
        button(yes, () => close(true), { kind: danger ? "danger" : "primary" }),
      ),
    ],
    { danger },
  );
  return answer === true;
}

/** Ask for one line of text; resolves to it, or null. */
export function ask(title, label, { value = "", yes, type = "text", note = null, secret = false }) {
  return show(title, (close) => {
    const input = el("input", { type, value, required: true, autofocus: true, autocomplete: "off", spellcheck: "false" });
    if (secret) input.type = "password";
    const form = el(
      "form",
      {
        onsubmit: (event) => {
          event.preventDefault();
          if (input.value.trim()) close(input.value.trim());
        },
      },
      el("label", { class: "field" }, el("span", null, label), input),
      note && el("p", { class: "hint" }, note),
      el(
        "div",
        { class: "actions end" },
        button("Cancel", () => close(null)),
        el("button", { type: "submit", class: "primary" }, yes),
      ),
    );
    setTimeout(() => input.select(), 0);
    return [form];
  });
}

/** Run what a dialog asked for; an error is shown in a dialog of its own. */
export async function attempt(heading, task) {
  try {
    await task();
  } catch (error) {
    await show(heading, (close) => [
      failure(error),
      el("div", { class: "actions end" }, button("Close", () => close(null), { kind: "primary" })),
    ]);
  }
}
