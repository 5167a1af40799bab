// One face of a probe: the decision, the candidates with the threshold on a scale, and what a person may do.

import * as api from "./api.js";
import { announce, breakable, button, el, failure, icon } from "./dom.js";
import { cut, portrait } from "./faces.js";
import { personField } from "./person-picker.js";
import { axis, lowEnd, track } from "./scale.js";
import { may } from "./server-info.js";
import { decision, further, photoName, POOR, reason, score } from "./words.js";

const LISTED = 5;

/** The panel's content. See `identify.js` for what it is given. */
export function facePanel(context) {
  const { probe, result, position, others, aside, choose } = context;
  const { tone, title, text } = decision(result, others, aside.length);
  const total = probe.results.length;
  const parts = [
    total > 1 ? chooser(position, total, choose) : null,
    el("div", { class: `verdict ${tone}` }, el("h2", null, title), el("p", null, text)),
  ];
  if (others.length) parts.push(comparison(context), candidates(context));
  if (aside.length) parts.push(setAsideNote(context));
  const actions = el("div", { class: "doing" });
  parts.push(actions, measured(result));
  may("enroll").then((allowed) => actions.replaceChildren(...doing(context, allowed)));
  return el("div", { class: "face-panel" }, parts);
}

function chooser(position, total, choose) {
  const step = (by) => choose((position + by + total) % total);
  return el(
    "div",
    { class: "chooser" },
    el("span", null, `Face ${position + 1} of ${total}`),
    button("Previous", () => step(-1), { kind: "quiet" }),
    button("Next", () => step(1), { kind: "quiet" }),
  );
}

/** The face of the photo and that of a candidate, side by side. */
function comparison({ probe, result, others }) {
  const mine = portrait("?", { size: "large" });
  cut(probe.picture, result.box).then((url) => url && mine.append(el("img", { src: url, alt: "" })));
  const [best] = others;
  const theirs = el("figure", { class: "theirs" });
  const who = (candidate) => [
    personLink(candidate),
    candidate.score < result.threshold ? ": below the threshold" : null,
  ];
  const made = el("div", { class: "pair" }, el("figure", null, mine, el("figcaption", null, "This face")), theirs);
  made.compare = (candidate) =>
    theirs.replaceChildren(
      portrait(candidate.subject, { photoId: candidate.photo_id, size: "large" }),
      el("figcaption", null, who(candidate)),
    );
  made.compare(best);
  return made;
}

function candidates(context) {
  const { result, others } = context;
  const listed = others.slice(0, LISTED);
  const low = lowEnd(listed.map((each) => each.score));
  const list = el("ol", { class: "candidates" }, listed.map((each, index) => candidate(context, each, index, low)));
  return el("div", { class: "listing" }, el("h3", null, "Candidates"), axis(result.threshold, low), list);
}

function candidate({ result, setAside }, each, index, low) {
  const compare = (event) => {
    const panel = event.currentTarget.closest(".face-panel");
    panel.querySelector(".pair").compare(each);
    for (const row of panel.querySelectorAll(".pick")) row.setAttribute("aria-pressed", String(row === event.currentTarget));
  };
  const row = el(
    "button",
    { type: "button", class: "pick", "aria-pressed": String(index === 0), onclick: compare },
    portrait(each.subject, { photoId: each.photo_id }),
    el("span", { class: "who" }, el("b", null, breakable(each.subject)), el("small", null, breakable(photoName(each.photo)))),
    el("span", { class: "number" }, score(each.score)),
    track(each.score, result.threshold, low),
  );
  if (each.score < result.threshold) return el("li", null, row);
  const label = { kind: "link", "aria-label": `That is not them: ${each.subject}` };
  return el("li", null, row, el("div", { class: "row-actions" }, button("That is not them", () => setAside(result, each), label)));
}

function setAsideNote({ result, aside, setAside }) {
  const names = aside.flatMap((each, index) => [index ? ", " : "", personLink(each)]);
  return el(
    "div",
    { class: "notice" },
    el(
      "div",
      null,
      el("p", null, "Set aside for this face, here on the page: ", names, ". The gallery has not changed. ",
        "If one of their photos there shows somebody else, open the person and remove it."),
      button("Bring back", () => setAside(result, null), { kind: "link" }),
    ),
  );
}

/** The person's name, and the way to the person. */
function personLink({ subject, subject_id: id }) {
  return el("a", { href: `#/people/${id}` }, subject);
}

function measured(result) {
  const [x1, y1, x2, y2] = result.box;
  const size = `${Math.round(x2 - x1)} × ${Math.round(y2 - y1)} pixels`;
  return el(
    "p",
    { class: "hint" },
    `Face of ${size}, detection score ${score(result.detection_score)}. Threshold ${score(result.threshold)}: ${result.threshold_basis}.`,
  );
}

function doing(context, allowed) {
  if (!allowed) return [el("p", { class: "hint" }, "The key in use may search, not enroll.")];
  const { others, result, aside } = context;
  const likely = result.decision === "match" && !aside.length ? others[0].subject : "";
  return [enrollForm(context, likely)];
}

/** "Enroll as ...": the photo in hand, this very face of it. */
function enrollForm({ probe, result, enrolled, outcome }, likely) {
  const who = personField("Enroll this face as", { value: likely });
  const submit = el("button", { type: "submit" }, "Enroll");

  async function send(anyQuality) {
    const name = who.name();
    if (!name) return who.focus();
    submit.disabled = true;
    outcome.replaceChildren();
    try {
      const { results: [record], subject } = await api.enroll([probe.file], { name }, { faces: result.face, anyQuality });
      tell(record, subject);
      if (record.status !== "rejected") await enrolled();
    } catch (error) {
      outcome.replaceChildren(failure(error));
    } finally {
      submit.disabled = false;
    }
  }

  function tell(record, person) {
    if (record.status === "rejected") {
      const poor = POOR.has(record.reason);
      outcome.replaceChildren(
        el(
          "div",
          { class: "notice bad" },
          icon("warning"),
          el(
            "div",
            null,
            el("p", null, `Not enrolled. ${reason(record.reason)}. ${further(record.reason, record.detail) ?? ""}`),
            poor ? button("Accept anyway", () => send(true)) : null,
          ),
        ),
      );
      return;
    }
    const conflict = record.reason === "identity_conflict";
    const done = record.status === "unchanged" ? "was enrolled with this photo before" : "is enrolled with this face";
    outcome.replaceChildren(
      el(
        "div",
        { class: `notice ${conflict ? "bad" : "good"}` },
        icon(conflict ? "warning" : "check"),
        el(
          "div",
          null,
          el("p", null, `${record.subject} ${done}. `, conflict ? `But look: ${record.detail}` : null),
          el(
            "div",
            { class: "actions" },
            person && el("a", { href: `#/people/${person.id}` }, `Open ${record.subject}`),
          ),
        ),
      ),
    );
    announce(`${record.subject} ${done}.`);
  }

  return el(
    "form",
    {
      class: "enroll-as",
      onsubmit: (event) => {
        event.preventDefault();
        send(false);
      },
    },
    who.element,
    submit,
    outcome,
  );
}
